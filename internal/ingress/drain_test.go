package ingress_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/ingress"
)

func TestDrainWaitsForWhatIsUnderWay(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	w := ready(t, nil, nil, func(rw http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(rw, "done")
	})
	w.Drain(bounded(t), ref("shop--none")) // nothing is known of it
	answer := make(chan reply, 1)
	go func() {
		got, err := w.ask("shop." + domain)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	<-arrived
	w.Forget(appID)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	w.Drain(over, ref("shop--one"))
	drained := make(chan struct{}, 2)
	for range 2 {
		go func() {
			w.Drain(bounded(t), ref("shop--one"))
			drained <- struct{}{}
		}()
	}
	select {
	case <-drained:
		t.Error("it did not wait")
	default:
	}
	close(release)
	if got := <-answer; got.body != "done" {
		t.Errorf("got %v", got)
	}
	<-drained
	<-drained
	if n := w.InFlight(ref("shop--one")); n != 0 {
		t.Errorf("%d are under way", n)
	}
}

func TestWhatAReplicaDidNotAnswerIsMadeOnceMoreIfThatDoesNoHarm(t *testing.T) {
	for method, want := range map[string]int64{"GET": 2, "PUT": 2, "DELETE": 2, "POST": 1, "PATCH": 1} {
		var had atomic.Int64
		w := ready(t, nil, nil, func(_ http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); string(body) == "hello" {
				had.Add(1)
			}
			panic(http.ErrAbortHandler)
		})
		got := w.get("shop."+domain, func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = method, io.NopCloser(strings.NewReader("hello")), 5
		})
		if got.status != 503 || had.Load() != want {
			t.Errorf("%s: got %v, replicas had it %d times, want %d", method, got, had.Load(), want)
		}
	}
}

func TestNobodyClaimsReservedHostNames(t *testing.T) {
	w := newWorld(t, func(c *ingress.Config) { c.Reserved = func(host string) bool { return host == "localhost" } })
	w.Put(shop(func(a *ingress.App) { a.CustomDomains = []string{"LocalHost", "localhost.", "www.example"} }))
	w.Replicas(ref("shop--one"), at(replica(t, says("one"))))
	if w.Knows("localhost") || w.Knows("localhost:7443") || !w.Knows("www.example:80") {
		t.Error("a reserved host name is an app's, or another one is not")
	}
}
