// The bench's worst case: two goroutines that do nothing but allocate small objects, each under a stack
// of some depth, until COUNT objects (the argument) are made. The runtime's sampler is on, as in a
// program that serves its heap profile.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
)

type object struct{ words [8]uint64 }

const (
	workers = 2
	depth   = 16
)

var sinks [workers]struct {
	object *object
	_      [56]byte
}

//go:noinline
func allocate(worker, count int) int {
	for range count {
		sinks[worker].object = new(object)
	}
	return count
}

//go:noinline
func descend(more, worker, count int) int {
	if more == 0 {
		return allocate(worker, count) + 1
	}
	return descend(more-1, worker, count) + 1
}

func main() {
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var done sync.WaitGroup
	for worker := range workers {
		done.Add(1)
		go func() {
			descend(depth, worker, count/workers)
			done.Done()
		}()
	}
	done.Wait()
	// Without a use of it the linker turns the sampler off.
	if n, _ := runtime.MemProfile(nil, true); n < 0 {
		os.Exit(1)
	}
}
