/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * C one-liners for the inline functions and macros that Rust cannot call.
 * Each is named rovl_ plus the name of what it wraps.
 */
#ifndef ROVL_SHIM_H
#define ROVL_SHIM_H

#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/delayed_call.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/lockdep.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/posix_acl.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/types.h>

const struct cred *rovl_override_creds(const struct cred *cred);
const struct cred *rovl_revert_creds(const struct cred *cred);
struct user_namespace *rovl_current_user_ns(void);
const struct cred *rovl_current_cred(void);
void rovl_cap_lower(struct cred *cred, int cap);
int rovl_security_dentry_create_files_as(struct dentry *dentry, int mode,
					 const struct cred *old,
					 struct cred *new);

struct dentry *rovl_dget(struct dentry *dentry);
bool rovl_d_can_lookup(const struct dentry *dentry);
bool rovl_d_is_reg(const struct dentry *dentry);
bool rovl_d_is_file(const struct dentry *dentry);
bool rovl_d_is_symlink(const struct dentry *dentry);
bool rovl_d_unhashed(const struct dentry *dentry);
bool rovl_d_flags_negative(const struct dentry *dentry);
struct dentry *rovl_d_real(struct dentry *dentry, enum d_real_type type);

struct inode *rovl_alloc_inode_sb(struct super_block *sb,
				  struct kmem_cache *cache);
bool rovl_inode_is_new(struct inode *inode);
bool rovl_inode_unhashed(struct inode *inode);
void rovl_lockdep_set_class(struct inode *inode, struct lock_class_key *key);
kuid_t rovl_i_uid_into_kuid(struct mnt_idmap *idmap, const struct inode *inode);
kgid_t rovl_i_gid_into_kgid(struct mnt_idmap *idmap, const struct inode *inode);
void rovl_inode_copy_atime(struct inode *to, const struct inode *from);
void rovl_inode_copy_mtime(struct inode *to, const struct inode *from);
void rovl_inode_copy_ctime(struct inode *to, const struct inode *from);
void rovl_i_size_copy(struct inode *to, const struct inode *from);

kuid_t rovl_vfsuid_of_kuid(struct mnt_idmap *idmap, const struct inode *inode,
			   kuid_t uid);
kgid_t rovl_vfsgid_of_kgid(struct mnt_idmap *idmap, const struct inode *inode,
			   kgid_t gid);

kuid_t rovl_from_vfsuid(struct mnt_idmap *idmap, const struct inode *inode,
			kuid_t vfsuid);
kgid_t rovl_from_vfsgid(struct mnt_idmap *idmap, const struct inode *inode,
			kgid_t vfsgid);
int rovl_get_write_access(struct inode *inode);
void rovl_put_write_access(struct inode *inode);
bool rovl_in_group_or_capable(struct mnt_idmap *idmap,
			      const struct inode *inode);

struct mnt_idmap *rovl_mnt_idmap(const struct vfsmount *mnt);
bool rovl_is_idmapped_mnt(const struct vfsmount *mnt);
void rovl_acl_dont_cache(struct inode *inode);
struct posix_acl *rovl_posix_acl_dup(struct posix_acl *acl);
void rovl_posix_acl_release(struct posix_acl *acl);

bool rovl_sb_has_permission_watchers(struct super_block *sb);
bool rovl_sb_has_encoding(const struct super_block *sb);
bool rovl_sb_same_encoding(const struct super_block *sb1,
			   const struct super_block *sb2);
void rovl_super_set_uuid(struct super_block *sb, const u8 *uuid,
			 unsigned int len);
__kernel_fsid_t rovl_uuid_to_fsid(u8 *uuid);
unsigned long rovl_start_poll_synchronize_rcu_expedited(void);
void rovl_cond_synchronize_rcu_expedited(unsigned long grace_period);

unsigned int rovl_inode_state_read(struct inode *inode);
void rovl_inode_state_set(struct inode *inode, unsigned int flags);
void rovl_inode_state_clear(struct inode *inode, unsigned int flags);
int rovl_mutex_lock_interruptible(struct mutex *lock);
void rovl_inode_lock(struct inode *inode);
void rovl_inode_unlock(struct inode *inode);

bool rovl_fatal_signal_pending(void);
ssize_t rovl_do_splice_direct(struct file *in, loff_t *ppos, struct file *out,
			      loff_t *opos, size_t len, unsigned int flags);
void rovl_do_delayed_call(struct delayed_call *call);
int rovl_security_inode_copy_up(struct dentry *src, struct cred **new);
int rovl_security_inode_copy_up_xattr(struct dentry *src, const char *name);
bool rovl_ids_have_mapping(kuid_t uid, kgid_t gid);

void rovl_seq_show_option(struct seq_file *m, const char *name,
			  const char *value);

int rovl_generic_setlease(struct file *file, int arg, struct file_lease **lease,
			  void **priv);
void rovl_init_sync_kiocb(struct kiocb *iocb, struct file *file);
int rovl_iocb_flags(struct file *file);
struct kmem_cache *rovl_kmem_cache_create(const char *name, unsigned int size,
					  void (*ctor)(void *object));

/* Module parameters, in params.c. */
#define ROVL_SWITCHES 6
extern bool rovl_switches[ROVL_SWITCHES];
extern unsigned short rovl_redirect_max;

#endif /* ROVL_SHIM_H */
