package traffic_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/traffic"
)

// apps are counters by name.
type apps map[string]*traffic.Counter

func (a apps) EachTraffic(yield func(string, traffic.Sum)) {
	for name, c := range a {
		yield(name, c.Total())
	}
}

func (a apps) Traffic(app string) (s traffic.Sum) {
	if c := a[app]; c != nil {
		s = c.Total()
	}
	return s
}

func (a apps) serve(app string, times, status int) {
	if a[app] == nil {
		a[app] = new(traffic.Counter)
	}
	for range times {
		a[app].Observe(status, 20*time.Millisecond)
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// requests gives the number of requests of each step.
func requests(b *traffic.Book, app string, from time.Time, step time.Duration, count int) (list []uint64) {
	for _, s := range b.Read(app, from, step, count) {
		list = append(list, s.Requests())
	}
	return list
}

func want(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func TestRequestsAreCountedInTheirMinute(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	a.serve("Orders", 9, 200) // before the book was begun
	b := traffic.NewBook("one", c, a)
	a.serve("Orders", 2, 200)
	c.Advance(time.Minute)
	b.Close()
	a.serve("Orders", 3, 500)
	c.Advance(time.Minute)
	b.Close()
	c.Advance(2 * time.Minute) // nobody closed the minute between
	b.Close()
	a.serve("Orders", 1, 404)
	want(t, "minutes", requests(b, "Orders", noon, time.Minute, 6), 2, 3, 0, 0, 1, 0)
	want(t, "five minutes", requests(b, "Orders", noon, 5*time.Minute, 2), 6, 0)
	want(t, "an hour", requests(b, "Orders", noon, time.Hour, 1), 6)
	want(t, "another app", requests(b, "other", noon, time.Hour, 1), 0)
	all := b.Read("Orders", noon, time.Hour, 1)[0]
	if all.Failed() != 3 || all.Refused() != 1 || all.Micros != 6*20_000 {
		t.Errorf("%+v", all)
	}
}

func TestMinutesAreKeptForAnHourAndQuartersForADay(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	for range 24 * 60 {
		a.serve("a", 1, 200)
		c.Advance(time.Minute)
		b.Close()
	}
	end := noon.Add(24 * time.Hour)
	if got := b.Read("a", end.Add(-time.Hour), time.Minute, 60); len(got) != 60 || got[0].Requests() != 1 || got[59].Requests() != 1 {
		t.Errorf("the last hour: %v", got)
	}
	for i, n := range requests(b, "a", noon, 15*time.Minute, 96) {
		if n != 15 {
			t.Errorf("quarter %d: %d", i, n)
		}
	}
	want(t, "two days ago", requests(b, "a", noon.Add(-24*time.Hour), 24*time.Hour, 1), 0)
}

func TestAnAppThatIsDeletedAndMadeAnewBeginsAnew(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	a.serve("a", 5, 200)
	c.Advance(time.Minute)
	b.Close()
	delete(a, "a")
	c.Advance(time.Minute)
	b.Close()
	want(t, "gone", requests(b, "a", noon, time.Minute, 3), 0, 0, 0)
	a.serve("a", 2, 200)
	c.Advance(time.Minute)
	want(t, "anew", requests(b, "a", noon, time.Minute, 4), 0, 0, 2, 0)
}

func TestAClockSetBackBeginsAnew(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	a.serve("a", 5, 200)
	c.Advance(-time.Hour)
	want(t, "after", requests(b, "a", noon.Add(-time.Hour), time.Hour, 2), 0, 0)
	if since := b.Nodes()[0].Since; !since.Equal(noon.Add(-time.Hour)) {
		t.Errorf("since %s", since)
	}
	a.serve("a", 1, 200)
	want(t, "anew", requests(b, "a", noon.Add(-time.Hour), time.Hour, 2), 1, 0)
}

func TestWhatNodesCountedIsSummedUp(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	a.serve("a", 1, 200)
	minute := noon.Unix() / 60
	two := traffic.Finished{Node: "two", Minute: minute, Since: noon.Add(-time.Hour), Apps: map[string]traffic.Sum{"a": {Counts: [traffic.Classes]uint64{traffic.S5xx: 4}}}}
	for range 2 { // told twice, counted once
		b.Heard(two)
	}
	mine := two
	mine.Node = "one"
	b.Heard(mine) // of this very minute, which this node counts by itself
	mine.Minute -= 30
	b.Heard(mine) // before it was started again
	want(t, "minutes", requests(b, "a", noon, time.Minute, 1), 5)
	want(t, "hours", requests(b, "A", noon.Add(-time.Hour), time.Hour, 2), 4, 4)
	if got := fmt.Sprint(names(b)); got != "[one one two]" {
		t.Error(got)
	}
	b.Forget("A")
	want(t, "of this node", requests(b, "a", noon.Add(-time.Hour), time.Hour, 2), 0, 1)
	c.Advance(25 * time.Hour)
	b.Trim()
	if got := fmt.Sprint(names(b)); got != "[one]" {
		t.Error(got)
	}
}

func names(b *traffic.Book) (list []string) {
	for _, n := range b.Nodes() {
		list = append(list, n.Name)
	}
	return list
}

func TestEachMinuteIsToldOnce(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	a.serve("Orders", 2, 200)
	if _, over := b.Close(); over {
		t.Error("the minute is not over")
	}
	c.Advance(time.Minute)
	f, over := b.Close()
	if !over || f.Minute != noon.Unix()/60 || f.Node != "one" || !f.Since.Equal(noon) || f.Apps["orders"].Requests() != 2 {
		t.Errorf("%v %+v", over, f)
	}
	if _, over := b.Close(); over {
		t.Error("told twice")
	}
}

// TestAMinuteThatReadingClosedIsTold: pages ask for figures at any time, also between
// the end of a minute and when it would have been closed.
func TestAMinuteThatReadingClosedIsTold(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	for i := range 3 {
		a.serve("orders", i+1, 200)
		c.Advance(time.Minute)
		b.Read("orders", noon, time.Minute, 1)
	}
	var told []uint64
	for f, over := b.Close(); over; f, over = b.Close() {
		told = append(told, f.Apps["orders"].Requests())
	}
	want(t, "told", told, 1, 2, 3)
}

// TestTimesLongAgoHaveNothing: whoever asks may ask for any time.
func TestTimesLongAgoHaveNothing(t *testing.T) {
	b := traffic.NewBook("one", clock.NewManual(noon), apps{})
	b.Heard(traffic.Finished{Node: "two", Minute: noon.Unix()/60 - 1, Apps: map[string]traffic.Sum{"orders": {Micros: 1}}})
	want(t, "minutes", requests(b, "orders", time.Date(1960, 1, 1, 0, 1, 0, 0, time.UTC), time.Minute, 2), 0, 0)
	want(t, "quarters", requests(b, "orders", time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Hour, 2), 0, 0)
}

// TestTwoThousandAppsTakeLittleMemory gives the figure that is published.
func TestTwoThousandAppsTakeLittleMemory(t *testing.T) {
	c, a := clock.NewManual(noon), apps{}
	b := traffic.NewBook("one", c, a)
	for i := range 2000 {
		a.serve(fmt.Sprint("app", i), 1, 200)
	}
	before := heap()
	c.Advance(time.Minute)
	b.Close()
	used := heap() - before
	t.Logf("%d KiB", used>>10)
	if used > 24<<20 {
		t.Errorf("%d bytes", used)
	}
	runtime.KeepAlive(b)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // fits
}

func TestClassesOfStatuses(t *testing.T) {
	for status, class := range map[int]traffic.Class{
		0: traffic.Other, 101: traffic.S1xx, 200: traffic.S2xx, 308: traffic.S3xx, 401: traffic.S401, 403: traffic.S403,
		404: traffic.S404, 406: traffic.S406, 429: traffic.S4xx, 503: traffic.S5xx, 999: traffic.Other,
	} {
		if got := traffic.ClassOf(status); got != class {
			t.Errorf("%d: %d", status, got)
		}
	}
}

func BenchmarkClose(b *testing.B) {
	c, a := clock.NewManual(noon), apps{}
	book := traffic.NewBook("one", c, a)
	for i := range 2000 {
		a.serve(fmt.Sprint("app", i), 1, 200)
	}
	for b.Loop() {
		c.Advance(time.Minute)
		book.Close()
	}
}
