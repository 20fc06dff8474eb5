/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Headers whose declarations the kernel crate's own bindings lack, for the
 * bindgen run in Kbuild.
 *
 * Sorted alphabetically.
 */

#include <linux/backing-file.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/posix_acl.h>
#include <linux/splice.h>
#include <linux/statfs.h>

#include "../shim/rovl_shim.h"

/* Macros whose values bindgen cannot work out by itself. */
const fmode_t ROVL_FMODE_CAN_ODIRECT = FMODE_CAN_ODIRECT;
const fmode_t ROVL_FMODE_LSEEK = FMODE_LSEEK;
const fmode_t ROVL_FMODE_OPENED = FMODE_OPENED;
const unsigned int ROVL_FS_IOC_FSGETXATTR = FS_IOC_FSGETXATTR;
const unsigned int ROVL_FS_IOC_FSSETXATTR = FS_IOC_FSSETXATTR;
const unsigned int ROVL_FS_IOC_GETFLAGS = FS_IOC_GETFLAGS;
const unsigned int ROVL_FS_IOC_SETFLAGS = FS_IOC_SETFLAGS;
const unsigned int ROVL_IOCB_NOWAIT = IOCB_NOWAIT;
const unsigned int ROVL_I_CTIME_QUERIED = I_CTIME_QUERIED;
const unsigned int ROVL_SB_POSIXACL = SB_POSIXACL;
const unsigned int ROVL_SB_RDONLY = SB_RDONLY;
const unsigned int ROVL_SB_NOSEC = SB_NOSEC;
const unsigned int ROVL_SB_SILENT = SB_SILENT;
const unsigned int ROVL_ATTR_ATIME = ATTR_ATIME;
const unsigned int ROVL_ATTR_ATIME_SET = ATTR_ATIME_SET;
const unsigned int ROVL_ATTR_CTIME = ATTR_CTIME;
const unsigned int ROVL_ATTR_FILE = ATTR_FILE;
const unsigned int ROVL_ATTR_GID = ATTR_GID;
const unsigned int ROVL_ATTR_KILL_SGID = ATTR_KILL_SGID;
const unsigned int ROVL_ATTR_KILL_SUID = ATTR_KILL_SUID;
const unsigned int ROVL_ATTR_MODE = ATTR_MODE;
const unsigned int ROVL_ATTR_MTIME = ATTR_MTIME;
const unsigned int ROVL_ATTR_MTIME_SET = ATTR_MTIME_SET;
const unsigned int ROVL_ATTR_OPEN = ATTR_OPEN;
const unsigned int ROVL_ATTR_SIZE = ATTR_SIZE;
const unsigned int ROVL_ATTR_UID = ATTR_UID;
const unsigned int ROVL_LOOKUP_EXCL = LOOKUP_EXCL;
const unsigned int ROVL_LOOKUP_FOLLOW = LOOKUP_FOLLOW;
const unsigned int ROVL_LOOKUP_RCU = LOOKUP_RCU;
const loff_t ROVL_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;
const int ROVL_READ = READ;
const int ROVL_IOCB_DSYNC = IOCB_DSYNC;
const int ROVL_IOCB_SYNC = IOCB_SYNC;
const unsigned int ROVL_SPLICE_F_MOVE = SPLICE_F_MOVE;
