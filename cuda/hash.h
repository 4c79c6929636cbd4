/* FNV-1a, 64 bits: names a set of choices in a few digits. Not against anybody who wants two to collide. */
#ifndef PAREIDOLIA_CUDA_HASH_H
#define PAREIDOLIA_CUDA_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_BEGIN UINT64_C(14695981039346656037)

static inline uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *byte = (const unsigned char *)bytes;

    for (size_t i = 0; i < count; i++)
        hash = (hash ^ byte[i]) * UINT64_C(1099511628211);
    return hash;
}

#endif
