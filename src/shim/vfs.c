// SPDX-License-Identifier: GPL-2.0-only
/*
 * C one-liners for the inline functions and macros that Rust cannot call.
 */

#include <linux/exportfs.h>
#include <linux/filelock.h>
#include <linux/fsnotify.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/splice.h>
#include <linux/statfs.h>

#include "rovl_shim.h"

const struct cred *rovl_override_creds(const struct cred *cred)
{
	return override_creds(cred);
}

const struct cred *rovl_revert_creds(const struct cred *cred)
{
	return revert_creds(cred);
}

struct user_namespace *rovl_current_user_ns(void)
{
	return current_user_ns();
}

const struct cred *rovl_current_cred(void)
{
	return current_cred();
}

void rovl_cap_lower(struct cred *cred, int cap)
{
	cap_lower(cred->cap_effective, cap);
}

int rovl_security_dentry_create_files_as(struct dentry *dentry, int mode,
					 const struct cred *old,
					 struct cred *new)
{
	return security_dentry_create_files_as(dentry, mode, &dentry->d_name,
					       old, new);
}

struct dentry *rovl_dget(struct dentry *dentry)
{
	return dget(dentry);
}

bool rovl_d_can_lookup(const struct dentry *dentry)
{
	return d_can_lookup(dentry);
}

bool rovl_d_is_reg(const struct dentry *dentry)
{
	return d_is_reg(dentry);
}

bool rovl_d_is_file(const struct dentry *dentry)
{
	return d_is_file(dentry);
}

bool rovl_d_is_symlink(const struct dentry *dentry)
{
	return d_is_symlink(dentry);
}

bool rovl_d_unhashed(const struct dentry *dentry)
{
	return d_unhashed(dentry);
}

bool rovl_d_flags_negative(const struct dentry *dentry)
{
	/* Pairs with the store in __d_set_inode_and_type(). */
	return d_flags_negative(smp_load_acquire(&dentry->d_flags));
}

struct dentry *rovl_d_real(struct dentry *dentry, enum d_real_type type)
{
	return d_real(dentry, type);
}

struct inode *rovl_alloc_inode_sb(struct super_block *sb,
				  struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

bool rovl_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

bool rovl_inode_unhashed(struct inode *inode)
{
	return inode_unhashed(inode);
}

void rovl_lockdep_set_class(struct inode *inode, struct lock_class_key *key)
{
	lockdep_set_class(&inode->i_rwsem, key);
}

kuid_t rovl_i_uid_into_kuid(struct mnt_idmap *idmap, const struct inode *inode)
{
	return vfsuid_into_kuid(i_uid_into_vfsuid(idmap, inode));
}

kgid_t rovl_i_gid_into_kgid(struct mnt_idmap *idmap, const struct inode *inode)
{
	return vfsgid_into_kgid(i_gid_into_vfsgid(idmap, inode));
}

kuid_t rovl_vfsuid_of_kuid(struct mnt_idmap *idmap, const struct inode *inode,
			   kuid_t uid)
{
	return vfsuid_into_kuid(make_vfsuid(idmap, i_user_ns(inode), uid));
}

kgid_t rovl_vfsgid_of_kgid(struct mnt_idmap *idmap, const struct inode *inode,
			   kgid_t gid)
{
	return vfsgid_into_kgid(make_vfsgid(idmap, i_user_ns(inode), gid));
}

kuid_t rovl_from_vfsuid(struct mnt_idmap *idmap, const struct inode *inode,
			kuid_t vfsuid)
{
	return from_vfsuid(idmap, i_user_ns(inode), VFSUIDT_INIT(vfsuid));
}

kgid_t rovl_from_vfsgid(struct mnt_idmap *idmap, const struct inode *inode,
			kgid_t vfsgid)
{
	return from_vfsgid(idmap, i_user_ns(inode), VFSGIDT_INIT(vfsgid));
}

int rovl_get_write_access(struct inode *inode)
{
	return get_write_access(inode);
}

void rovl_put_write_access(struct inode *inode)
{
	put_write_access(inode);
}

bool rovl_in_group_or_capable(struct mnt_idmap *idmap,
			      const struct inode *inode)
{
	return in_group_or_capable(idmap, inode, i_gid_into_vfsgid(idmap, inode));
}

void rovl_inode_copy_atime(struct inode *to, const struct inode *from)
{
	inode_set_atime_to_ts(to, inode_get_atime(from));
}

void rovl_inode_copy_mtime(struct inode *to, const struct inode *from)
{
	inode_set_mtime_to_ts(to, inode_get_mtime(from));
}

void rovl_inode_copy_ctime(struct inode *to, const struct inode *from)
{
	inode_set_ctime_to_ts(to, inode_get_ctime(from));
}

void rovl_i_size_copy(struct inode *to, const struct inode *from)
{
	i_size_write(to, i_size_read(from));
}

struct mnt_idmap *rovl_mnt_idmap(const struct vfsmount *mnt)
{
	return mnt_idmap(mnt);
}

bool rovl_is_idmapped_mnt(const struct vfsmount *mnt)
{
	return is_idmapped_mnt(mnt);
}

void rovl_acl_dont_cache(struct inode *inode)
{
	inode->i_default_acl = ACL_DONT_CACHE;
	inode->i_acl = ACL_DONT_CACHE;
}

struct posix_acl *rovl_posix_acl_dup(struct posix_acl *acl)
{
	return posix_acl_dup(acl);
}

void rovl_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

bool rovl_sb_has_permission_watchers(struct super_block *sb)
{
#ifdef CONFIG_FANOTIFY_ACCESS_PERMISSIONS
	return fsnotify_sb_has_priority_watchers(sb, FSNOTIFY_PRIO_CONTENT);
#else
	return false;
#endif
}

bool rovl_sb_has_encoding(const struct super_block *sb)
{
	return sb_has_encoding(sb);
}

bool rovl_sb_same_encoding(const struct super_block *sb1,
			   const struct super_block *sb2)
{
	return sb_same_encoding(sb1, sb2);
}

void rovl_super_set_uuid(struct super_block *sb, const u8 *uuid,
			 unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

__kernel_fsid_t rovl_uuid_to_fsid(u8 *uuid)
{
	return uuid_to_fsid(uuid);
}

unsigned long rovl_start_poll_synchronize_rcu_expedited(void)
{
	return start_poll_synchronize_rcu_expedited();
}

void rovl_cond_synchronize_rcu_expedited(unsigned long grace_period)
{
	cond_synchronize_rcu_expedited(grace_period);
}

unsigned int rovl_inode_state_read(struct inode *inode)
{
	return inode_state_read(inode);
}

void rovl_inode_state_set(struct inode *inode, unsigned int flags)
{
	inode_state_set(inode, flags);
}

void rovl_inode_state_clear(struct inode *inode, unsigned int flags)
{
	inode_state_clear(inode, flags);
}

int rovl_mutex_lock_interruptible(struct mutex *lock)
{
	return mutex_lock_interruptible(lock);
}

void rovl_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

void rovl_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

bool rovl_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

ssize_t rovl_do_splice_direct(struct file *in, loff_t *ppos, struct file *out,
			      loff_t *opos, size_t len, unsigned int flags)
{
	return do_splice_direct(in, ppos, out, opos, len, flags);
}

void rovl_do_delayed_call(struct delayed_call *call)
{
	do_delayed_call(call);
}

int rovl_security_inode_copy_up(struct dentry *src, struct cred **new)
{
	return security_inode_copy_up(src, new);
}

int rovl_security_inode_copy_up_xattr(struct dentry *src, const char *name)
{
	return security_inode_copy_up_xattr(src, name);
}

bool rovl_ids_have_mapping(kuid_t uid, kgid_t gid)
{
	return kuid_has_mapping(current_user_ns(), uid) &&
	       kgid_has_mapping(current_user_ns(), gid);
}

void rovl_seq_show_option(struct seq_file *m, const char *name,
			  const char *value)
{
	seq_show_option(m, name, value);
}

int rovl_generic_setlease(struct file *file, int arg, struct file_lease **lease,
			  void **priv)
{
	return generic_setlease(file, arg, lease, priv);
}

void rovl_init_sync_kiocb(struct kiocb *iocb, struct file *file)
{
	init_sync_kiocb(iocb, file);
}

int rovl_iocb_flags(struct file *file)
{
	return iocb_flags(file);
}

struct kmem_cache *rovl_kmem_cache_create(const char *name, unsigned int size,
					  void (*ctor)(void *object))
{
	return kmem_cache_create(name, size, 0,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}
