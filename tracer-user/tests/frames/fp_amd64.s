// func framePointer() uintptr
TEXT ·framePointer(SB), 4, $0-8
	MOVQ BP, ret+0(FP)
	RET
