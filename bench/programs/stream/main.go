// The bench's target for the time to the first event: allocates without pause and can tell
// afterwards when it made its n-th object.
//
// Protocol: a line "stop" on standard input; the number of objects made so far comes back, and no
// more are made. Then lines "INDEX", each answered with the time (nanoseconds since 1970) at which
// the object of that index was made, to within one batch.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

type object struct{ words [8]uint64 }

const batch = 1000

var (
	sink *object
	// When each batch began. Room for a minute at 30 ns an object.
	began   [1 << 21]int64
	batches int
	stopped atomic.Bool
)

//go:noinline
func allocate() {
	for batches < len(began) && !stopped.Load() {
		began[batches] = time.Now().UnixNano()
		for i := 0; i < batch; i++ {
			sink = new(object)
		}
		batches++
	}
}

func main() {
	in := bufio.NewReader(os.Stdin)
	done := make(chan struct{})
	fmt.Println("ready", os.Getpid())
	go func() {
		allocate()
		close(done)
	}()
	var word string
	if _, err := fmt.Fscan(in, &word); err != nil {
		return
	}
	stopped.Store(true)
	<-done
	if batches == len(began) {
		fmt.Println("error: it went on for too long")
		return
	}
	fmt.Println(batches * batch)
	for {
		var index int
		if _, err := fmt.Fscan(in, &index); err != nil {
			return
		}
		if index < 0 || index/batch >= batches {
			fmt.Println("error: no such object")
			continue
		}
		fmt.Println(began[index/batch])
	}
}
