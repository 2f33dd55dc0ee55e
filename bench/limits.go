package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// measureStart measures from process start to the first served request, next to
// what the handler needs by itself, and the resident memory when idle.
func measureStart(ctx context.Context, o options) error {
	return withApp(func(dir, key string) error { return timeStarts(ctx, o, dir, key) })
}

func timeStarts(ctx context.Context, o options, dir, key string) error {
	var served, handler []time.Duration
	rss := 0
	for range max(o.rounds, 5) {
		began := time.Now()
		h, _, err := startHandler(ctx)
		if err != nil {
			return err
		}
		handler = append(handler, time.Since(began))
		h.stop()
		began = time.Now()
		l, err := startLatchkey(ctx, o.binary, dir, key)
		if err != nil {
			return err
		}
		served = append(served, time.Since(began))
		time.Sleep(300 * time.Millisecond) // idle
		rss = max(rss, residentKiB(l.cmd.Process.Pid))
		l.stop()
	}
	h, all := middle(handler), middle(served)
	fmt.Printf("\nProcess start to first served request: %d ms; the handler alone needs %d ms; difference %d ms.\n",
		all.Milliseconds(), h.Milliseconds(), (all - h).Milliseconds())
	fmt.Printf("Resident memory when idle: %.1f MiB.\n", float64(rss)/1024)
	return nil
}

func middle(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func residentKiB(pid int) int {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}

// withLatchkey runs the binary on a new app for as long as use takes.
func withLatchkey(ctx context.Context, o options, use func(*latchkey) error) error {
	return withApp(func(dir, key string) error {
		l, err := startLatchkey(ctx, o.binary, dir, key, "--log-level", "error")
		if err != nil {
			return err
		}
		defer l.stop()
		return use(l)
	})
}

// withApp makes a new app in a folder that goes away after use.
func withApp(use func(dir, key string) error) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	key, err := newApp(dir)
	if err != nil {
		return err
	}
	return use(dir, key)
}

// measureIdle opens many keep-alive connections, one request each, holds them,
// and asks again on every one.
func measureIdle(ctx context.Context, o options) error {
	return withLatchkey(ctx, o, func(l *latchkey) error { return holdIdle(l, o.idle) })
}

func holdIdle(l *latchkey, n int) error {
	before := residentKiB(l.cmd.Process.Pid)
	conns, err := openIdle(l, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	if err != nil {
		return err
	}
	held := residentKiB(l.cmd.Process.Pid)
	alive := 0
	for _, c := range conns {
		if ask(l, c) == nil {
			alive++
		}
	}
	fmt.Printf("\nIdle keep-alive clients held: %d of %d answer again; resident %.0f MiB, %.1f KiB each.\n",
		alive, n, float64(held)/1024, float64(held-before)/float64(n))
	return nil
}

func openIdle(l *latchkey, n int) ([]net.Conn, error) {
	addr := strings.TrimSuffix(strings.TrimPrefix(l.url, "http://"), path)
	conns := make([]net.Conn, 0, n)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if err := ask(l, c); err != nil {
			return conns, err
		}
	}
	return conns, nil
}

func ask(l *latchkey, c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nx-functions-key: "+l.key+"\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

// measureCrashes kills the worker once a second under load and looks at how the
// requests end.
func measureCrashes(ctx context.Context, o options) error {
	return withLatchkey(ctx, o, func(l *latchkey) error { return crashOn(ctx, l) })
}

func crashOn(ctx context.Context, l *latchkey) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	kills := make(chan int, 1)
	go func() { kills <- killWorkers(ctx, l.cmd.Process.Pid) }()
	t := crashLoad(ctx, l)
	fmt.Printf("\nWorker killed %d times in 10 s under load: %d answers 200, %d answers 5xx, %d others, %d without an answer; slowest 5xx %v, slowest of all %v.\n",
		<-kills, t.ok.Load(), t.failed.Load(), t.other.Load(), t.none.Load(),
		time.Duration(t.slowFailed.Load()).Round(time.Millisecond), time.Duration(t.slow.Load()).Round(time.Millisecond))
	return nil
}

type tally struct {
	ok, failed, other, none, slow, slowFailed atomic.Int64
}

func crashLoad(ctx context.Context, l *latchkey) *tally {
	var t tally
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				status, err := l.get()
				t.count(status, err, time.Since(began))
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	return &t
}

func (t *tally) count(status int, err error, took time.Duration) {
	raise(&t.slow, int64(took))
	switch {
	case err != nil:
		t.none.Add(1)
	case status == http.StatusOK:
		t.ok.Add(1)
	case status >= 500:
		t.failed.Add(1)
		raise(&t.slowFailed, int64(took))
	default:
		t.other.Add(1)
	}
}

func raise(v *atomic.Int64, to int64) {
	for old := v.Load(); to > old && !v.CompareAndSwap(old, to); old = v.Load() {
	}
}

// killWorkers kills the children of pid once a second until ctx ends.
func killWorkers(ctx context.Context, pid int) (kills int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return kills
		case <-tick.C:
		}
		for _, child := range children(pid) {
			if syscall.Kill(child, syscall.SIGKILL) == nil {
				kills++
			}
		}
	}
}

func children(pid int) (list []int) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}
