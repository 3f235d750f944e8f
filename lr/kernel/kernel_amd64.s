#include "textflag.h"

// func dot4AVX2(x0, x1, x2, x3, w *float32, n int, acc *[32]float32)
//
// Eight lanes for each of four rows; a product is rounded before it is added, as the portable
// code does.
TEXT ·dot4AVX2(SB), NOSPLIT, $0-56
	MOVQ x0+0(FP), R8
	MOVQ x1+8(FP), R9
	MOVQ x2+16(FP), R10
	MOVQ x3+24(FP), R11
	MOVQ w+32(FP), DI
	MOVQ n+40(FP), CX
	MOVQ acc+48(FP), DX
	XORQ AX, AX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3

dotloop:
	VMOVUPS (DI)(AX*4), Y4
	VMULPS  (R8)(AX*4), Y4, Y5
	VMULPS  (R9)(AX*4), Y4, Y6
	VMULPS  (R10)(AX*4), Y4, Y7
	VMULPS  (R11)(AX*4), Y4, Y8
	VADDPS  Y5, Y0, Y0
	VADDPS  Y6, Y1, Y1
	VADDPS  Y7, Y2, Y2
	VADDPS  Y8, Y3, Y3
	ADDQ    $8, AX
	CMPQ    AX, CX
	JLT     dotloop

	VMOVUPS Y0, (DX)
	VMOVUPS Y1, 32(DX)
	VMOVUPS Y2, 64(DX)
	VMOVUPS Y3, 96(DX)
	VZEROUPPER
	RET

// func axpy4AVX2(dst, x0, x1, x2, x3 *float32, res *[4]float32, n int)
TEXT ·axpy4AVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ x0+8(FP), R8
	MOVQ x1+16(FP), R9
	MOVQ x2+24(FP), R10
	MOVQ x3+32(FP), R11
	MOVQ res+40(FP), DX
	MOVQ n+48(FP), CX
	XORQ AX, AX
	VBROADCASTSS (DX), Y0
	VBROADCASTSS 4(DX), Y1
	VBROADCASTSS 8(DX), Y2
	VBROADCASTSS 12(DX), Y3

axpyloop:
	VMULPS  (R8)(AX*4), Y0, Y4
	VMULPS  (R9)(AX*4), Y1, Y5
	VMULPS  (R10)(AX*4), Y2, Y6
	VMULPS  (R11)(AX*4), Y3, Y7
	VADDPS  (DI)(AX*4), Y4, Y4
	VADDPS  Y5, Y4, Y4
	VADDPS  Y6, Y4, Y4
	VADDPS  Y7, Y4, Y4
	VMOVUPS Y4, (DI)(AX*4)
	ADDQ    $8, AX
	CMPQ    AX, CX
	JLT     axpyloop

	VZEROUPPER
	RET

// func extent4AVX2(low, high, x0, x1, x2, x3 *float32, n int)
//
// VMINPS and VMAXPS give their last operand unless the other is less (greater), as the portable
// code does, also for zeros and for what is no number.
TEXT ·extent4AVX2(SB), NOSPLIT, $0-56
	MOVQ low+0(FP), DI
	MOVQ high+8(FP), SI
	MOVQ x0+16(FP), R8
	MOVQ x1+24(FP), R9
	MOVQ x2+32(FP), R10
	MOVQ x3+40(FP), R11
	MOVQ n+48(FP), CX
	XORQ AX, AX

extentloop:
	VMOVUPS (DI)(AX*4), Y0
	VMOVUPS (SI)(AX*4), Y1
	VMOVUPS (R8)(AX*4), Y2
	VMOVUPS (R9)(AX*4), Y3
	VMOVUPS (R10)(AX*4), Y4
	VMOVUPS (R11)(AX*4), Y5
	VMINPS  Y0, Y2, Y0
	VMAXPS  Y1, Y2, Y1
	VMINPS  Y0, Y3, Y0
	VMAXPS  Y1, Y3, Y1
	VMINPS  Y0, Y4, Y0
	VMAXPS  Y1, Y4, Y1
	VMINPS  Y0, Y5, Y0
	VMAXPS  Y1, Y5, Y1
	VMOVUPS Y0, (DI)(AX*4)
	VMOVUPS Y1, (SI)(AX*4)
	ADDQ    $8, AX
	CMPQ    AX, CX
	JLT     extentloop

	VZEROUPPER
	RET

// func moments4AVX2(sum, square *float64, shift, x0, x1, x2, x3 *float32, n int)
TEXT ·moments4AVX2(SB), NOSPLIT, $0-64
	MOVQ sum+0(FP), DI
	MOVQ square+8(FP), SI
	MOVQ shift+16(FP), DX
	MOVQ x0+24(FP), R8
	MOVQ x1+32(FP), R9
	MOVQ x2+40(FP), R10
	MOVQ x3+48(FP), R11
	MOVQ n+56(FP), CX
	XORQ AX, AX

momentsloop:
	VMOVUPS (DX)(AX*4), X0
	VMOVUPD (DI)(AX*8), Y1
	VMOVUPD (SI)(AX*8), Y2
	VMOVUPS (R8)(AX*4), X3
	VMOVUPS (R9)(AX*4), X4
	VMOVUPS (R10)(AX*4), X5
	VMOVUPS (R11)(AX*4), X6
	VSUBPS  X0, X3, X3
	VSUBPS  X0, X4, X4
	VSUBPS  X0, X5, X5
	VSUBPS  X0, X6, X6
	VCVTPS2PD X3, Y3
	VCVTPS2PD X4, Y4
	VCVTPS2PD X5, Y5
	VCVTPS2PD X6, Y6
	VADDPD  Y3, Y1, Y1
	VADDPD  Y4, Y1, Y1
	VADDPD  Y5, Y1, Y1
	VADDPD  Y6, Y1, Y1
	VMULPD  Y3, Y3, Y3
	VMULPD  Y4, Y4, Y4
	VMULPD  Y5, Y5, Y5
	VMULPD  Y6, Y6, Y6
	VADDPD  Y3, Y2, Y2
	VADDPD  Y4, Y2, Y2
	VADDPD  Y5, Y2, Y2
	VADDPD  Y6, Y2, Y2
	VMOVUPD Y1, (DI)(AX*8)
	VMOVUPD Y2, (SI)(AX*8)
	ADDQ    $4, AX
	CMPQ    AX, CX
	JLT     momentsloop

	VZEROUPPER
	RET
