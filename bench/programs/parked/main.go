// The bench's target for goroutines: parks as many as its first argument says, in different places and
// at different depths. It has a heap profile.
//
// Protocol: "ready" when all are parked; then it waits until its input is closed.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

var (
	never = make(chan int)
	held  sync.Mutex
	cond  = sync.NewCond(new(sync.Mutex))
	kept  = make([]byte, 4<<20)
)

//go:noinline
func deep(depth int, wait func()) int {
	if depth == 0 {
		wait()
		return 0
	}
	return deep(depth-1, wait) + 1
}

func receive() { <-never }
func choose() {
	select {
	case <-never:
	case <-time.After(1000 * time.Hour):
	}
}
func lock()  { held.Lock() }
func sleep() { time.Sleep(1000 * time.Hour) }
func wait() {
	cond.L.Lock()
	cond.Wait()
}

func main() {
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	held.Lock()
	waits := []func(){receive, choose, lock, sleep, wait}
	var begun sync.WaitGroup
	begun.Add(count)
	for i := 0; i < count; i++ {
		depth, wait := i%23, waits[i%len(waits)]
		go func() {
			begun.Done()
			deep(depth, wait)
		}()
	}
	begun.Wait()
	// Those that have begun park within that time, or are counted as running.
	time.Sleep(time.Second)
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	// Without a use of it the linker turns the sampler off, and there is no heap profile to read.
	if n, _ := runtime.MemProfile(nil, true); n < 0 || kept == nil {
		os.Exit(1)
	}
}
