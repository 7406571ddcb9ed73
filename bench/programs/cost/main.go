// The bench's target for the cost of one event: allocates one object again and again under a stack
// of a known depth, and says how long each took.
//
// Protocol: a line "DEPTH COUNT" on standard input; a line "NANOSECONDS" (per allocation) comes
// back. DEPTH is the number of frames that a walk sees, runtime.newobject included where it exists.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"time"
)

type object struct{ words [8]uint64 }

var sink *object

//go:noinline
func allocate(count int) time.Duration {
	start := time.Now()
	for i := 0; i < count; i++ {
		sink = new(object)
	}
	return time.Since(start)
}

//go:noinline
func descend(more int, count int) time.Duration {
	if more == 0 {
		return allocate(count) + 1
	}
	return descend(more-1, count) + 1
}

//go:noinline
func frames(more int) int {
	if more > 0 {
		return frames(more - 1)
	}
	var pcs [64]uintptr
	return runtime.Callers(2, pcs[:]) // without Callers and this one
}

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready", os.Getpid())
	for {
		var depth, count int
		if _, err := fmt.Fscan(in, &depth, &count); err != nil {
			return
		}
		// Below main and its callers come descend(more) … descend(0), allocate, newobject.
		more := depth - frames(0) - 3
		if more < 0 {
			fmt.Println("error: depth too small")
			continue
		}
		took := descend(more, count)
		fmt.Printf("%.1f\n", float64(took.Nanoseconds())/float64(count))
	}
}
