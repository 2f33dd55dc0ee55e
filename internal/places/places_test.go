package places

import (
	"fmt"
	"sync"
	"testing"
)

func TestOneCallerLeavesRoomForOthers(t *testing.T) {
	p := Places{All: 5, Each: 2}
	first, ok1 := p.Take("a")
	_, ok2 := p.Take("a")
	if _, more := p.Take("a"); !ok1 || !ok2 || more {
		t.Errorf("of two places one caller gets %v, %v, %v", ok1, ok2, more)
	}
	first()
	first() // gives back one place, not two
	if _, ok := p.Take("a"); !ok || p.Taken() != 2 {
		t.Errorf("after one was given back: %v, %d taken", ok, p.Taken())
	}
	for i := range 3 {
		if _, ok := p.Take(fmt.Sprint(i)); !ok {
			t.Errorf("caller %d finds no place", i)
		}
	}
	if _, ok := p.Take("z"); ok || p.Taken() != 5 {
		t.Errorf("beyond all: %v, %d taken", ok, p.Taken())
	}
}

func TestABoundThatIsNotSetIsNone(t *testing.T) {
	var p Places
	for range 1000 {
		if _, ok := p.Take("a"); !ok {
			t.Fatal("there is no place")
		}
	}
}

func TestPlacesAreGivenBackByAll(t *testing.T) {
	p := Places{All: 50, Each: 3}
	var work sync.WaitGroup
	for i := range 100 {
		work.Go(func() {
			for range 100 {
				if leave, ok := p.Take(fmt.Sprint(i % 20)); ok {
					leave()
				}
			}
		})
	}
	work.Wait()
	if p.Taken() != 0 || len(p.by) != 0 {
		t.Errorf("%d taken, %d callers kept", p.Taken(), len(p.by))
	}
}
