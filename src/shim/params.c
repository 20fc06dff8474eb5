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

/* In the order in which src/overlay/options.rs knows them. */
bool rovl_switches[ROVL_SWITCHES] = {
	IS_ENABLED(CONFIG_OVERLAY_FS_REDIRECT_DIR),
	!IS_ENABLED(CONFIG_OVERLAY_FS) ||
		IS_ENABLED(CONFIG_OVERLAY_FS_REDIRECT_ALWAYS_FOLLOW),
	IS_ENABLED(CONFIG_OVERLAY_FS_XINO_AUTO),
	IS_ENABLED(CONFIG_OVERLAY_FS_INDEX),
	IS_ENABLED(CONFIG_OVERLAY_FS_NFS_EXPORT),
	IS_ENABLED(CONFIG_OVERLAY_FS_METACOPY),
};

module_param_named(redirect_dir, rovl_switches[0], bool, 0644);
MODULE_PARM_DESC(redirect_dir,
		 "Default to on or off for the redirect_dir feature");

module_param_named(redirect_always_follow, rovl_switches[1], bool, 0644);
MODULE_PARM_DESC(redirect_always_follow,
		 "Follow redirects even if redirect_dir feature is turned off");

module_param_named(xino_auto, rovl_switches[2], bool, 0644);
MODULE_PARM_DESC(xino_auto, "Auto enable xino feature");

module_param_named(index, rovl_switches[3], bool, 0644);
MODULE_PARM_DESC(index, "Default to on or off for the inodes index feature");

module_param_named(nfs_export, rovl_switches[4], bool, 0644);
MODULE_PARM_DESC(nfs_export, "Default to on or off for the NFS export feature");

module_param_named(metacopy, rovl_switches[5], bool, 0644);
MODULE_PARM_DESC(metacopy,
		 "Default to on or off for the metadata only copy up feature");

unsigned short rovl_redirect_max = 256;
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
