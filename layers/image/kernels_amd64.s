#include "textflag.h"

// func rowAVX2(dst, src *byte, groups, taps, step int, base *int32, mask *byte, coef *int32)
TEXT ·rowAVX2(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ groups+16(FP), BX
	MOVQ taps+24(FP), DX
	MOVQ step+32(FP), R8
	MOVQ base+40(FP), R9
	MOVQ mask+48(FP), R10
	MOVQ coef+56(FP), R13
	MOVL $0x200000, AX            // one half, 22 fractional bits
	VMOVD AX, X15
	VPBROADCASTD X15, Y15

rowgroup:
	MOVLQSX (R9), R11
	MOVLQSX 4(R9), R12
	ADDQ    SI, R11
	ADDQ    SI, R12
	VMOVDQU (R10), Y5
	VMOVDQA Y15, Y0
	MOVQ    DX, CX

rowtap:
	VMOVDQU     (R11), X3
	VINSERTI128 $1, (R12), Y3, Y3
	VPSHUFB     Y5, Y3, Y3        // eight samples as 32-bit words
	VPMULLD     (R13), Y3, Y3
	VPADDD      Y3, Y0, Y0
	ADDQ        R8, R11
	ADDQ        R8, R12
	ADDQ        $32, R13
	DECQ        CX
	JNZ         rowtap

	VPSRAD       $22, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPACKSSDW    X1, X0, X0
	VPACKUSWB    X0, X0, X0       // clips to a byte
	VMOVQ        X0, (DI)
	ADDQ         $8, DI
	ADDQ         $8, R9
	ADDQ         $32, R10
	DECQ         BX
	JNZ          rowgroup
	VZEROUPPER
	RET

// func columnAVX2(dst, src *byte, n, stride int, coef *int32, taps int)
TEXT ·columnAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ stride+24(FP), R8
	MOVQ coef+32(FP), R9
	MOVQ taps+40(FP), R10
	MOVL $0x200000, AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15

colgroup:
	VMOVDQA Y15, Y0
	VMOVDQA Y15, Y1
	MOVQ    SI, R11
	XORQ    R12, R12

coltap:
	VPBROADCASTD (R9)(R12*4), Y2
	VPMOVZXBD    (R11), Y3
	VPMOVZXBD    8(R11), Y4
	VPMULLD      Y2, Y3, Y3
	VPMULLD      Y2, Y4, Y4
	VPADDD       Y3, Y0, Y0
	VPADDD       Y4, Y1, Y1
	ADDQ         R8, R11
	INCQ         R12
	CMPQ         R12, R10
	JLT          coltap

	VPSRAD       $22, Y0, Y0
	VPSRAD       $22, Y1, Y1
	VPACKSSDW    Y1, Y0, Y0       // words 0-3 8-11 | 4-7 12-15
	VPERMQ       $0xD8, Y0, Y0    // in order
	VEXTRACTI128 $1, Y0, X1
	VPACKUSWB    X1, X0, X0
	VMOVDQU      X0, (DI)
	ADDQ         $16, SI
	ADDQ         $16, DI
	SUBQ         $16, CX
	JG           colgroup
	VZEROUPPER
	RET
