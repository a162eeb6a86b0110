/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the programs here share. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

/* A loop as it is written, and one written out. */
#define ROLLED _Pragma("clang loop unroll(disable)")
#define UNROLLED _Pragma("clang loop unroll(full)")
/* Nothing is known of the value from here on. */
#define FORGET(value) asm volatile("" : "+r"(value))

char LICENSE[] SEC("license") = "GPL";
