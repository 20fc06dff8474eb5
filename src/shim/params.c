// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module parameters, as those of fs/overlayfs/params.c and namei.c.
 *
 * The module! macro of Rust makes parameters that never show in sysfs, so
 * they are declared here.
 */

#include <linux/kconfig.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "rovl_shim.h"

bool rovl_redirect_dir_def = IS_ENABLED(CONFIG_OVERLAY_FS_REDIRECT_DIR);
module_param_named(redirect_dir, rovl_redirect_dir_def, bool, 0644);
MODULE_PARM_DESC(redirect_dir,
		 "Default to on or off for the redirect_dir feature");

bool rovl_redirect_always_follow =
	!IS_ENABLED(CONFIG_OVERLAY_FS) ||
	IS_ENABLED(CONFIG_OVERLAY_FS_REDIRECT_ALWAYS_FOLLOW);
module_param_named(redirect_always_follow, rovl_redirect_always_follow,
		   bool, 0644);
MODULE_PARM_DESC(redirect_always_follow,
		 "Follow redirects even if redirect_dir feature is turned off");

bool rovl_xino_auto_def = IS_ENABLED(CONFIG_OVERLAY_FS_XINO_AUTO);
module_param_named(xino_auto, rovl_xino_auto_def, bool, 0644);
MODULE_PARM_DESC(xino_auto, "Auto enable xino feature");

bool rovl_index_def = IS_ENABLED(CONFIG_OVERLAY_FS_INDEX);
module_param_named(index, rovl_index_def, bool, 0644);
MODULE_PARM_DESC(index, "Default to on or off for the inodes index feature");

bool rovl_nfs_export_def = IS_ENABLED(CONFIG_OVERLAY_FS_NFS_EXPORT);
module_param_named(nfs_export, rovl_nfs_export_def, bool, 0644);
MODULE_PARM_DESC(nfs_export, "Default to on or off for the NFS export feature");

bool rovl_metacopy_def = IS_ENABLED(CONFIG_OVERLAY_FS_METACOPY);
module_param_named(metacopy, rovl_metacopy_def, bool, 0644);
MODULE_PARM_DESC(metacopy,
		 "Default to on or off for the metadata only copy up feature");

static unsigned short rovl_redirect_max = 256;
module_param_named(redirect_max, rovl_redirect_max, ushort, 0644);
MODULE_PARM_DESC(redirect_max, "Maximum length of absolute redirect xattr value");

static int rovl_check_copy_up_set(const char *val, const struct kernel_param *kp)
{
	pr_warn("\"check_copy_up\" module option is obsolete\n");
	return 0;
}

static int rovl_check_copy_up_get(char *buf, const struct kernel_param *kp)
{
	return sprintf(buf, "N\n");
}

module_param_call(check_copy_up, rovl_check_copy_up_set, rovl_check_copy_up_get,
		  NULL, 0644);
MODULE_PARM_DESC(check_copy_up, "Obsolete; does nothing");
