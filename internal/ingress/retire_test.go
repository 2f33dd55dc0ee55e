package ingress_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestARetiredReplicaEndsItsRequestsAndGetsNoOthers(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	w := newWorld(t, nil)
	w.Put(shop(nil))
	old := replica(t, func(rw http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(rw, "old")
	})
	w.Replicas(ref("shop--one"), at(old))
	answer := make(chan reply, 1)
	go func() {
		got, err := w.ask("shop." + domain)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	select {
	case <-arrived:
	case <-time.After(long):
		t.Fatal("no request came")
	}
	both := at(old, replica(t, says("next")))
	w.Replicas(ref("shop--one"), both)
	retired := make(chan struct{})
	over := bounded(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	go func() {
		defer close(retired)
		w.Retire(over, ref("shop--one"), "r0")
	}()
	for range 10 {
		select {
		case <-retired:
			t.Fatal("it did not wait")
		default:
		}
		w.Retire(gone, ref("shop--one"), "r0")
		if got := w.get("shop." + domain); got.body != "next" {
			t.Fatalf("a retired replica got a request: %v", got)
		}
	}
	w.Replicas(ref("shop--one"), both) // who observes it has not seen it end yet
	w.Replicas(ref("shop--one"), both[1:])
	select {
	case <-retired:
		t.Fatal("it did not wait once the replica was out of the list")
	default:
	}
	close(release)
	select {
	case got := <-answer:
		if got.body != "old" {
			t.Errorf("got %v", got)
		}
	case <-time.After(long):
		t.Fatal("the request was not answered")
	}
	select {
	case <-retired:
	case <-time.After(long):
		t.Fatal("it waits for nothing")
	}
	w.Retire(over, ref("shop--one"), "unknown")
	w.Retire(over, ref("shop--none"), "old")
}
