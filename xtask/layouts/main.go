// A program whose DWARF describes the runtime's structures: it links every profile's code.
package main

import (
	"io"
	"runtime"
	"runtime/pprof"
)

func main() {
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	for _, name := range []string{"heap", "block", "mutex", "goroutine"} {
		_ = pprof.Lookup(name).WriteTo(io.Discard, 0)
	}
}
