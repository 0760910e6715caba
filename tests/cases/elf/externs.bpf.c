/* Symbols from outside. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern unsigned LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_HZ __kconfig;
extern _Bool CONFIG_BPF_SYSCALL __kconfig __weak;
extern char CONFIG_CC_VERSION_TEXT[24] __kconfig __weak;
extern enum libbpf_tristate CONFIG_IPV6 __kconfig __weak;
extern const void bpf_prog_fops __ksym;
extern const void not_there __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern int no_such_kfunc(__u32 cookie, void *) __ksym __weak;

SEC("tc") int configured(struct __sk_buff *skb)
{
	return LINUX_KERNEL_VERSION + CONFIG_HZ + CONFIG_BPF_SYSCALL + CONFIG_CC_VERSION_TEXT[0] + CONFIG_IPV6;
}
SEC("tc") int symbols(struct __sk_buff *skb)
{
	__u64 a = (__u64)&bpf_prog_fops;
	if (&not_there) a++;
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	if (no_such_kfunc) no_such_kfunc(1, 0);
	return a != 0;
}
char _license[] SEC("license") = "GPL";
