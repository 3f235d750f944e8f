#include "textflag.h"

// func rowAVX2(dst, src *byte, groups, taps, step int, base *int32, mask *byte, coef *int32, keep *byte, per int)
TEXT ·rowAVX2(SB), NOSPLIT, $0-80
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ groups+16(FP), BX
	MOVQ taps+24(FP), DX
	MOVQ step+32(FP), R8
	MOVQ base+40(FP), R9
	MOVQ mask+48(FP), R10
	MOVQ coef+56(FP), R13
	MOVQ keep+64(FP), AX
	VMOVQ (AX), X14
	MOVL $0x200000, AX            // one half, 22 fractional bits
	VMOVD AX, X15
	VPBROADCASTD X15, Y15
	MOVQ per+72(FP), AX

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
	VPSHUFB      X14, X0, X0
	VMOVQ        X0, (DI)
	ADDQ         AX, DI
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

// func yccAVX2(dst, y, cb, cr *byte, n int)
TEXT ·yccAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ y+8(FP), SI
	MOVQ cb+16(FP), R8
	MOVQ cr+24(FP), R9
	MOVQ n+32(FP), CX
	VPBROADCASTD ycc128<>(SB), Y15
	VPBROADCASTD yccHalf<>(SB), Y14
	VPBROADCASTD yccRR<>(SB), Y13
	VPBROADCASTD yccGB<>(SB), Y12
	VPBROADCASTD yccGR<>(SB), Y11
	VPBROADCASTD yccBB<>(SB), Y10
	VBROADCASTI128 yccPack<>(SB), Y9

yccgroup:
	VPMOVZXBD (SI), Y0
	VPMOVZXBD (R8), Y1
	VPMOVZXBD (R9), Y2
	VPSUBD    Y15, Y1, Y1
	VPSUBD    Y15, Y2, Y2
	VPMULLD   Y13, Y2, Y3         // red
	VPMULLD   Y12, Y1, Y4         // green
	VPMULLD   Y11, Y2, Y5
	VPMULLD   Y10, Y1, Y6         // blue
	VPADDD    Y14, Y3, Y3
	VPADDD    Y5, Y4, Y4
	VPADDD    Y14, Y6, Y6
	VPADDD    Y14, Y4, Y4
	VPSRAD    $16, Y3, Y3
	VPSRAD    $16, Y4, Y4
	VPSRAD    $16, Y6, Y6
	VPADDD    Y0, Y3, Y3
	VPADDD    Y0, Y4, Y4
	VPADDD    Y0, Y6, Y6
	VPACKSSDW Y4, Y3, Y3          // four reds, four greens, in each half
	VPACKSSDW Y6, Y6, Y6          // four blues, twice
	VPACKUSWB Y6, Y3, Y3          // clips to a byte
	VPSHUFB   Y9, Y3, Y3          // four pixels, and four bytes of zero
	VEXTRACTI128 $1, Y3, X4
	VMOVDQU   X3, (DI)
	VMOVDQU   X4, 12(DI)
	ADDQ      $8, SI
	ADDQ      $8, R8
	ADDQ      $8, R9
	ADDQ      $24, DI
	SUBQ      $8, CX
	JG        yccgroup
	VZEROUPPER
	RET

DATA ycc128<>+0(SB)/4, $128
GLOBL ycc128<>(SB), RODATA|NOPTR, $4
DATA yccHalf<>+0(SB)/4, $32768
GLOBL yccHalf<>(SB), RODATA|NOPTR, $4
DATA yccRR<>+0(SB)/4, $91881
GLOBL yccRR<>(SB), RODATA|NOPTR, $4
DATA yccGB<>+0(SB)/4, $-22554
GLOBL yccGB<>(SB), RODATA|NOPTR, $4
DATA yccGR<>+0(SB)/4, $-46802
GLOBL yccGR<>(SB), RODATA|NOPTR, $4
DATA yccBB<>+0(SB)/4, $116130
GLOBL yccBB<>(SB), RODATA|NOPTR, $4
DATA yccPack<>+0(SB)/8, $0x0602090501080400
DATA yccPack<>+8(SB)/8, $0x808080800b07030a
GLOBL yccPack<>(SB), RODATA|NOPTR, $16
