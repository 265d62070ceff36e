/*: riscv : layer */
/* RISC-V's vectors: 16 numbers at once, however long a register is. The kernels: 0 plain C, 1 these. */
#if defined(__riscv_v) && __riscv_v_intrinsic >= 12000 && (!defined(FACE_NET_KERNELS) || FACE_NET_KERNELS > 0)
#define RISCV 1
#include <riscv_vector.h>
#define FAST(name) name##_riscv

/* 16 sums with what follows them, of which `left` are wanted. */
INLINE void finish_riscv(const layer *l, vint32m4_t sums, ptrdiff_t index, ptrdiff_t left, uint8_t *bytes,
                         float *floats)
{
    const size_t count = (size_t)(left < 16 ? left : 16);
    vfloat32m4_t t = __riscv_vfcvt_f_x_v_f32m4(sums, 16);
    t = __riscv_vfmul_vv_f32m4(t, __riscv_vle32_v_f32m4(l->scale + index, count), count);
    if (l->floats) {
        __riscv_vse32_v_f32m4(floats, t, count);
        return;
    }
    if (l->slope != NULL) {
        const vfloat32m4_t below =
            __riscv_vfmul_vv_f32m4(t, __riscv_vle32_v_f32m4(l->slope + index, count), count);
        t = __riscv_vmerge_vvm_f32m4(t, below, __riscv_vmflt_vf_f32m4_b8(t, 0.0f, count), count);
    }
    t = __riscv_vfmin_vf_f32m4(__riscv_vfmax_vf_f32m4(t, l->low, count), l->high, count);
    const vint32m4_t q = __riscv_vadd_vx_i32m4(__riscv_vfcvt_x_f_v_i32m4(t, count), l->zero, count);
    const vint16m2_t words = __riscv_vncvt_x_x_w_i16m2(q, count);
    __riscv_vse8_v_u8m1(bytes, __riscv_vreinterpret_v_i8m1_u8m1(__riscv_vncvt_x_x_w_i8m1(words, count)), count);
}
#endif
