/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the programs here share: short types, and ways to keep the compiler from being clever. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

/* A loop as it is written. */
#define ROLLED _Pragma("clang loop unroll(disable)")
/* Nothing is known of the value from here on. */
#define FORGET(value) asm volatile("" : "+r"(value))
/* All bits of a result in the 32 that a program returns. */
#define FOLD(value) ((u32)((value) ^ ((value) >> 32)))

#define ROTL32(value, by) (((value) << (by)) | ((value) >> (32 - (by))))
#define ROTL64(value, by) (((value) << (by)) | ((value) >> (64 - (by))))

/* How many bytes of the packet the programs read. */
#define PACKET 1400

static __always_inline void *packet(struct xdp_md *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *packet_end(struct xdp_md *ctx)
{
	return (void *)(long)ctx->data_end;
}

char LICENSE[] SEC("license") = "GPL";
