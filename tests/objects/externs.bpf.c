// What an object takes from outside: kernel functions, kernel variables, the kernel's configuration; and a function
// that nobody calls but the kernel.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void not_there(int) __ksym __weak;
extern void bpf_rcu_read_lock___as_it_was(void) __ksym __weak;
extern const int bpf_prog_active __ksym;
extern const void init_task __ksym __weak;

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF __kconfig __weak;
extern char CONFIG_NAME[8] __kconfig __weak;

SEC("raw_tp/sys_enter")
int program(void *ctx)
{
	int *active;

	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	if (not_there)
		not_there(1);
	if (bpf_rcu_read_lock___as_it_was) {
		bpf_rcu_read_lock___as_it_was();
		bpf_rcu_read_unlock();
	}
	if (CONFIG_BPF && CONFIG_NAME[0])
		return LINUX_KERNEL_VERSION;
	active = bpf_this_cpu_ptr(&bpf_prog_active);
	return *active + (long)&init_task;
}

extern void bpf_throw(__u64 cookie) __ksym;

__attribute__((noinline)) int caught(__u64 cookie)
{
	return cookie & 1;
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:caught")))
int thrower(struct __sk_buff *skb)
{
	if (skb->len > 100)
		bpf_throw(skb->len);
	return 0;
}

char _license[] SEC("license") = "GPL";
