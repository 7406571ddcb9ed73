// The bench's target for what is watched while it works: serves requests that allocate, with the
// runtime's sampler on. Each request is the same work: 1,000 objects of several sizes under a stack of 20
// frames, some of them held for a while, and arithmetic between them.
//
// Protocol, a line in and a line out: "calibrate RATE" sets the arithmetic so that RATE bytes a second
// are allocated, or none where even that is too slow, and answers with the rate that came out. "populate
// GOROUTINES STACKS" parks goroutines and makes buckets of the heap profile, and answers "done".
// "collect" runs the collector until what was dropped is freed: "done". "work REQUESTS" answers with
// "CPU WALL BYTES": nanoseconds of the process, nanoseconds, what was allocated.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
	"unsafe"
)

// kind is one way to allocate.
type kind struct {
	// How often it is taken, in thousandths.
	weight uint64
	// What an object takes of its span, in bytes.
	size uint64
	make func() unsafe.Pointer
	// How many of them are held.
	held []unsafe.Pointer
	made uint64
}

//go:noinline
func drop32() unsafe.Pointer { return unsafe.Pointer(new([4]int64)) }

//go:noinline
func drop512() unsafe.Pointer { return unsafe.Pointer(new([512]byte)) }

//go:noinline
func dropPointers96() unsafe.Pointer { return unsafe.Pointer(new([12]*byte)) }

//go:noinline
func drop40960() unsafe.Pointer { return unsafe.Pointer(new([40960]byte)) }

//go:noinline
func hold64() unsafe.Pointer { return unsafe.Pointer(new([64]byte)) }

//go:noinline
func hold1024() unsafe.Pointer { return unsafe.Pointer(new([1024]byte)) }

//go:noinline
func hold4096() unsafe.Pointer { return unsafe.Pointer(new([4096]byte)) }

var kinds = []kind{
	{weight: 400, size: 32, make: drop32},
	{weight: 300, size: 512, make: drop512},
	{weight: 200, size: 96, make: dropPointers96},
	{weight: 2, size: 40960, make: drop40960},
	{weight: 40, size: 64, make: hold64, held: make([]unsafe.Pointer, 100000)},
	{weight: 50, size: 1024, make: hold1024, held: make([]unsafe.Pointer, 20000)},
	{weight: 8, size: 4096, make: hold4096, held: make([]unsafe.Pointer, 5000)},
}

const (
	objects = 1000
	depth   = 20
)

var (
	random  = uint64(88172645463325252)
	bytes   uint64
	spin    int
	product = uint64(1)
	// So that objects are made although nobody wants them.
	dropped unsafe.Pointer
	parked  = make(chan struct{})
)

func next() uint64 {
	random ^= random << 13
	random ^= random >> 7
	random ^= random << 17
	return random
}

//go:noinline
func allocate() {
	for i := 0; i < objects; i++ {
		at := next() % 1000
		chosen := 0
		for at >= kinds[chosen].weight {
			at -= kinds[chosen].weight
			chosen++
		}
		k := &kinds[chosen]
		object := k.make()
		if len(k.held) > 0 {
			k.held[k.made%uint64(len(k.held))] = object
		} else {
			dropped = object
		}
		k.made++
		bytes += k.size
		multiply(spin)
	}
}

//go:noinline
func multiply(times int) {
	for n := 0; n < times; n++ {
		product = product*6364136223846793005 + 1442695040888963407
	}
}

//go:noinline
func request(more int) int {
	if more == 0 {
		allocate()
		return 1
	}
	return request(more-1) + 1
}

type took struct {
	cpu, wall time.Duration
	bytes     uint64
}

func work(requests int) took {
	began, before, had := time.Now(), cpu(), bytes
	for i := 0; i < requests; i++ {
		// Below main, work and goexit's callers.
		request(depth - 6)
	}
	return took{cpu() - before, time.Since(began), bytes - had}
}

// cpu is what the process has used, in user space and in the kernel.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// fastest is the shortest of a few runs: what else the machine does makes none shorter.
func fastest(run func()) float64 {
	least := time.Hour
	for i := 0; i < 5; i++ {
		began := time.Now()
		run()
		if passed := time.Since(began); passed < least {
			least = passed
		}
	}
	return least.Seconds()
}

func calibrate(rate float64) float64 {
	const tries, requests, turns = 4, 300, 5000000
	work(1000) // fills what is held
	turn := fastest(func() { multiply(turns) }) / turns
	reached := 0.0
	for i := 0; i < tries; i++ {
		size := 0.0
		seconds := fastest(func() { size = float64(work(requests).bytes) })
		reached = size / seconds
		spin += int((size/rate - seconds) / requests / objects / turn)
		if spin < 0 {
			spin = 0
		}
	}
	return reached
}

//go:noinline
func left(path uint, more int) { bucket(path, more) }

//go:noinline
func right(path uint, more int) { bucket(path, more) }

// bucket allocates, under a stack that is another one for each path, what is sampled almost always.
func bucket(path uint, more int) {
	switch {
	case more == 0:
		dropped = unsafe.Pointer(new([1 << 20]byte))
	case path&1 == 0:
		left(path>>1, more-1)
	default:
		right(path>>1, more-1)
	}
}

func populate(goroutines, stacks int) {
	started := make(chan struct{})
	for i := 0; i < goroutines; i++ {
		go func() {
			started <- struct{}{}
			<-parked
		}()
		<-started
	}
	for path := 0; path < stacks; path++ {
		bucket(uint(path), 16)
	}
}

func collect() {
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
}

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready", os.Getpid())
	for {
		var word string
		if _, err := fmt.Fscan(in, &word); err != nil {
			return
		}
		var number, another int
		switch word {
		case "calibrate":
			fmt.Fscan(in, &number)
			fmt.Printf("%.0f\n", calibrate(float64(number)))
		case "populate":
			fmt.Fscan(in, &number, &another)
			populate(number, another)
			fmt.Println("done")
		case "collect":
			collect()
			fmt.Println("done")
		case "work":
			fmt.Fscan(in, &number)
			t := work(number)
			fmt.Println(t.cpu.Nanoseconds(), t.wall.Nanoseconds(), t.bytes)
		case "profile":
			// That there is such a line keeps the sampler on: the linker turns it off in programs that
			// never read a heap profile.
			_ = pprof.WriteHeapProfile(os.Stdout)
		}
	}
}
