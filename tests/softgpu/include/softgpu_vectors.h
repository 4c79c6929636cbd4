/* CUDA's vector types and dim3: the ones that our kernels and their launches use. C and C++. */
#ifndef SOFTGPU_VECTORS_H
#define SOFTGPU_VECTORS_H

#define __align__(n) __attribute__((aligned(n)))

/* A type of two or four numbers, and the function that makes one. */
#define SOFTGPU_VECTOR2(name, number, alignment)                                                                     \
    struct __align__(alignment) name {                                                                               \
        number x, y;                                                                                                 \
    };                                                                                                               \
    typedef struct name name;                                                                                        \
    static inline name make_##name(number x, number y)                                                               \
    {                                                                                                                \
        name made = {x, y};                                                                                          \
        return made;                                                                                                 \
    }
#define SOFTGPU_VECTOR3(name, number)                                                                                \
    struct name {                                                                                                    \
        number x, y, z;                                                                                              \
    };                                                                                                               \
    typedef struct name name;                                                                                        \
    static inline name make_##name(number x, number y, number z)                                                     \
    {                                                                                                                \
        name made = {x, y, z};                                                                                       \
        return made;                                                                                                 \
    }
#define SOFTGPU_VECTOR4(name, number, alignment)                                                                     \
    struct __align__(alignment) name {                                                                               \
        number x, y, z, w;                                                                                           \
    };                                                                                                               \
    typedef struct name name;                                                                                        \
    static inline name make_##name(number x, number y, number z, number w)                                           \
    {                                                                                                                \
        name made = {x, y, z, w};                                                                                    \
        return made;                                                                                                 \
    }

SOFTGPU_VECTOR2(char2, signed char, 2)
SOFTGPU_VECTOR2(uchar2, unsigned char, 2)
SOFTGPU_VECTOR2(short2, short, 4)
SOFTGPU_VECTOR2(ushort2, unsigned short, 4)
SOFTGPU_VECTOR2(int2, int, 8)
SOFTGPU_VECTOR2(uint2, unsigned int, 8)
SOFTGPU_VECTOR2(float2, float, 8)
SOFTGPU_VECTOR2(double2, double, 16)
SOFTGPU_VECTOR2(longlong2, long long, 16)
SOFTGPU_VECTOR2(ulonglong2, unsigned long long, 16)
SOFTGPU_VECTOR3(int3, int)
SOFTGPU_VECTOR3(uint3, unsigned int)
SOFTGPU_VECTOR3(float3, float)
SOFTGPU_VECTOR3(double3, double)
SOFTGPU_VECTOR4(char4, signed char, 4)
SOFTGPU_VECTOR4(uchar4, unsigned char, 4)
SOFTGPU_VECTOR4(short4, short, 8)
SOFTGPU_VECTOR4(ushort4, unsigned short, 8)
SOFTGPU_VECTOR4(int4, int, 16)
SOFTGPU_VECTOR4(uint4, unsigned int, 16)
SOFTGPU_VECTOR4(float4, float, 16)

struct dim3 {
    unsigned int x, y, z;
#ifdef __cplusplus
    constexpr dim3(unsigned int vx = 1, unsigned int vy = 1, unsigned int vz = 1) : x(vx), y(vy), z(vz) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
    constexpr operator uint3() const { return uint3{x, y, z}; }
#endif
};
typedef struct dim3 dim3;

#endif
