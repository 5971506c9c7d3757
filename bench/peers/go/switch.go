// Goroutines that pass the turn by channels, on one thread: nanoseconds for each change of goroutine,
// and for an item through a buffered channel. The best of several rounds.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

const steps, rounds = 25600, 100

func turn() float64 {
	there, back := make(chan uint64), make(chan uint64)
	go func() {
		for i := 0; i < steps; i++ {
			back <- <-there
		}
	}()
	began := time.Now()
	for i := uint64(0); i < steps; i++ {
		there <- i
		<-back
	}
	return float64(time.Since(began).Nanoseconds()) / steps / 2
}

func pass() float64 {
	items, done := make(chan uint64, 64), make(chan bool)
	began := time.Now()
	go func() {
		for i := 0; i < steps; i++ {
			<-items
		}
		done <- true
	}()
	for i := uint64(0); i < steps; i++ {
		items <- i
	}
	<-done
	return float64(time.Since(began).Nanoseconds()) / steps
}

func spawn() float64 {
	var group sync.WaitGroup
	began := time.Now()
	for i := 0; i < steps/64; i++ {
		group.Add(64)
		for each := 0; each < 64; each++ {
			go group.Done()
		}
		group.Wait()
	}
	return float64(time.Since(began).Nanoseconds()) / steps
}

func best(measure func() float64) float64 {
	least := measure()
	for i := 1; i < rounds; i++ {
		if one := measure(); one < least {
			least = one
		}
	}
	return least
}

func main() {
	runtime.GOMAXPROCS(1)
	fmt.Printf("{\"chan_switch_ns\": %.2f, \"chan_ns\": %.2f, \"spawn_ns\": %.2f}\n", best(turn),
		best(pass), best(spawn))
}
