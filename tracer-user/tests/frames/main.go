// Prints stacks twice: as return addresses along the frame pointers, and as runtime.CallersFrames
// names them; and some types.
package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sort"
	"sync"
	"unsafe"
)

func framePointer() uintptr

var lock sync.Mutex

// capture prints the stack of its caller.
//
//go:noinline
func capture(name string) {
	var physical []uintptr
	for fp := framePointer(); fp != 0 && len(physical) < 64; {
		physical = append(physical, *(*uintptr)(unsafe.Pointer(fp + 8)))
		fp = *(*uintptr)(unsafe.Pointer(fp))
	}
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	lock.Lock()
	defer lock.Unlock()
	fmt.Printf("stack %s\n", name)
	for _, pc := range physical {
		fmt.Printf("pc %x\n", pc)
	}
	for {
		frame, more := frames.Next()
		if frame.Function != "runtime.goexit" {
			fmt.Printf("frame %d\t%s\t%s\n", frame.Line, frame.Function, frame.File)
		}
		if !more {
			return
		}
	}
}

func inner(name string) { capture(name) }

func middle(name string) {
	inner(name)
}

//go:noinline
func outer(name string) { middle(name) }

func generic[T any](value T, name string) {
	func() { capture(name) }()
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

//go:noinline
func (p *pair[K, V]) show(name string) { generic(p.value, name) }

type base struct{ n int }

func (b *base) method(name string) { capture(name) }

type value [4]int

//go:noinline
func (v value) method(name string) { capture(name) }

type outside struct{ *base }

type methoder interface{ method(string) }

//go:noinline
func callInterface(m methoder, name string) { m.method(name) }

type list []int

func (l list) Len() int { return len(l) }
func (l list) Less(i, j int) bool {
	if l[i] == 1 && l[j] == 2 || l[i] == 2 && l[j] == 1 {
		once.Do(func() { capture("sort") })
	}
	return l[i] < l[j]
}
func (l list) Swap(i, j int) { l[i], l[j] = l[j], l[i] }

var once sync.Once

func recovered(f func()) {
	defer func() { recover() }()
	f()
}

//go:noinline
func dereference(p *base) int {
	defer func() { capture("sigpanic") }()
	return p.n
}

//go:noinline
func index(s []int, i int) int {
	defer capture("index")
	return s[i]
}

func recursive(n int, name string) {
	if n == 0 {
		outer(name)
		return
	}
	recursive(n-1, name)
}

type status int32

type table map[string]status

// types prints where some types lie and what reflection says of them.
func types() {
	n := 1
	for _, value := range []any{
		1, "x", 1.5, true, byte(1), uintptr(1), complex(1, 2), []byte{}, []string{}, [4]int{}, value{},
		&base{}, base{}, outside{}, pair[string, []int]{}, &pair[int, *base]{}, map[string]int{},
		map[pair[int, int]]*base{}, table{}, status(1), make(chan int), make(<-chan *base),
		func(int) string { return "" }, func(...any) {}, &n, &value{}, new(any), new(methoder), errors.New,
		struct{}{}, struct {
			A int `json:"a"`
			b *base
		}{}, sync.Mutex{}, &sync.WaitGroup{}, reflect.ValueOf(1), os.Stdout, unsafe.Pointer(&n),
		[]methoder{}, [][]pair[int, string]{},
	} {
		t := reflect.TypeOf(value)
		at := *(*uintptr)(unsafe.Pointer(&value))
		fmt.Printf("type %x\t%d\t%v\t%s\t%s\n", at, t.Size(), t.Kind(), t.PkgPath(), t)
	}
}

func main() {
	fmt.Printf("main %x\n", reflect.ValueOf(main).Pointer())
	types()
	capture("plain")
	outer("inlined")
	generic(1, "generic int")
	generic("x", "generic string")
	(&pair[string, []int]{}).show("generic method")
	callInterface(&base{}, "interface")
	callInterface(value{}, "interface value")
	callInterface(outside{&base{}}, "promoted")
	bound := value{}.method
	bound("method value")
	func() { func() { outer("closures") }() }()
	sort.Sort(list{3, 1, 2, 5, 4})
	reflect.ValueOf(&base{}).MethodByName("String")
	reflect.ValueOf(outer).Call([]reflect.Value{reflect.ValueOf("reflect")})
	recovered(func() { dereference(nil) })
	recovered(func() { index(nil, len(os.Args)) })
	recovered(func() {
		defer capture("panic")
		panic("x")
	})
	recovered(func() {
		defer func() { capture("panicwrap") }()
		var nobody *value
		callInterface(nobody, "never")
	})
	recursive(5, "recursive")
	done := make(chan bool)
	go func() {
		defer close(done)
		outer("goroutine")
	}()
	<-done
}
