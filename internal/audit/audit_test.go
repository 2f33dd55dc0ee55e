package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

type env struct {
	*testing.T
	ctx   context.Context
	clock *clock.Manual
	store *memory.Store
	*audit.Log
}

func newEnv(t *testing.T) *env {
	c := clock.NewManual(start)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	e := &env{T: t, ctx: ctx, clock: c, store: memory.New(c)}
	e.Log = e.open(e.store, "node-1")
	return e
}

func (e *env) open(s state.Store, node string) *audit.Log {
	l := audit.New(s, e.clock, slog.New(slog.DiscardHandler))
	l.Node = node
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = l.Close(ctx)
	})
	return l
}

// add appends events with actions a/1, a/2 and so on.
func (e *env) add(n int) {
	e.Helper()
	for i := range n {
		if err := e.Append(e.ctx, audit.Event{Category: audit.Write, Action: fmt.Sprintf("a/%d", i+1)}); err != nil {
			e.Fatal(err)
		}
	}
}

func (e *env) report() audit.Report {
	e.Helper()
	r, err := e.Verify(e.ctx, nil)
	if err != nil {
		e.Fatal(err)
	}
	return r
}

// all lists everything, oldest first.
func (e *env) all() []audit.Entry {
	e.Helper()
	var out []audit.Entry
	f := audit.Filter{Oldest: true, Limit: 7}
	for {
		list, next, err := e.List(e.ctx, f)
		if err != nil {
			e.Fatal(err)
		}
		if out = append(out, list...); next == 0 {
			return out
		}
		f.After = next
	}
}

// await waits until the record has events of an action, and gives them.
func (e *env) await(n int, action string) []audit.Entry {
	e.Helper()
	for {
		list, _, err := e.List(e.ctx, audit.Filter{Action: action, Oldest: true, Limit: 10000})
		if err != nil {
			e.Fatal(err)
		}
		if len(list) >= n {
			return list
		}
	}
}

func key(n int) state.Key { return audit.Documents + state.Key(fmt.Sprintf("%020d", n)) }

func (e *env) write(ops ...state.Op) {
	e.Helper()
	if _, err := e.store.Write(e.ctx, ops...); err != nil {
		e.Fatal(err)
	}
}

func (e *env) doc(k state.Key) []byte {
	e.Helper()
	doc, err := e.store.Get(e.ctx, k)
	if err != nil {
		e.Fatal(err)
	}
	return doc.Value
}

func TestAppendedEventsAreThere(t *testing.T) {
	e := newEnv(t)
	want := audit.Event{
		Category: audit.SecretRead, Action: "Microsoft.Web/sites/config/list/action", Scope: "/subscriptions/s/x",
		Principal: audit.Principal{ObjectID: "o", AppID: "a", Name: "n"}, Source: "::1", Outcome: "Succeeded", Status: 200,
		CorrelationID: "c", Details: map[string]string{"b": "2", "a": "1"},
	}
	if err := e.Append(e.ctx, want); err != nil {
		t.Fatal(err)
	}
	want.Time, want.Node = start, "node-1"
	if diff := cmp.Diff([]audit.Entry{{Sequence: 1, Event: want}}, e.all()); diff != "" {
		t.Error(diff)
	}
	if r := e.report(); !r.Intact || r.Events != 1 || r.Head.Sequence != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAnEmptyRecordIsIntact(t *testing.T) {
	e := newEnv(t)
	if r := e.report(); !r.Intact || r.Events != 0 {
		t.Errorf("%+v", r)
	}
	if len(e.all()) != 0 {
		t.Error("events in an empty record")
	}
}

func TestLongEventsAreCutNotRefused(t *testing.T) {
	e := newEnv(t)
	details := map[string]string{}
	for i := range 30 {
		details[strings.Repeat("\x01", 90)+fmt.Sprint(i)] = strings.Repeat("\x01", 3000)
	}
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if err := e.Append(e.ctx, audit.Event{Action: strings.Repeat("x", 100_000), Reason: "\xff", Details: details}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all := e.all()
	if len(all) != 60 || len(all[0].Action) > 2048 || len(all[0].Details) > 20 || !e.report().Intact {
		t.Errorf("%d events", len(all))
	}
}

// Several logs append to one chain, and every event is in it exactly once.
func TestSeveralNodesAppendOneChain(t *testing.T) {
	e := newEnv(t)
	logs := []*audit.Log{e.Log, e.open(e.store, "node-2"), e.open(e.store, "node-3")}
	const each, senders = 20, 4
	var wg sync.WaitGroup
	for n, l := range logs {
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if err := l.Append(e.ctx, audit.Event{Category: audit.Write, Action: fmt.Sprintf("%d/%d/%d", n, s, i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	seen := map[string]int{}
	last := map[string]string{}
	for i, entry := range e.all() {
		seen[entry.Action]++
		if entry.Sequence != uint64(i+1) {
			t.Fatalf("event %d has sequence %d", i+1, entry.Sequence)
		}
		sender := entry.Action[:strings.LastIndexByte(entry.Action, '/')]
		if was := last[sender]; len(was) > len(entry.Action) || len(was) == len(entry.Action) && was >= entry.Action {
			t.Errorf("%s after %s", entry.Action, was)
		}
		last[sender] = entry.Action
	}
	if len(seen) != len(logs)*senders*each {
		t.Errorf("%d different events", len(seen))
	}
	if r := e.report(); !r.Intact || r.Events != uint64(len(seen)) {
		t.Errorf("%+v", r)
	}
}

func TestTampering(t *testing.T) {
	tests := []struct {
		name    string
		tamper  func(e *env)
		faults  []audit.Fault
		trusted []audit.Range
	}{
		{"nothing", func(*env) {}, []audit.Fault{}, []audit.Range{{1, 10}}},
		{"an event is changed", func(e *env) {
			e.write(state.Put(key(4), bytes.Replace(e.doc(key(4)), []byte("a/4"), []byte("a/9"), 1), state.Any))
		}, []audit.Fault{{audit.Changed, 4, 4}}, []audit.Range{{1, 3}, {5, 10}}},
		{"an event is spelled differently", func(e *env) {
			e.write(state.Put(key(4), append(e.doc(key(4)), ' '), state.Any))
		}, []audit.Fault{{audit.Changed, 4, 4}}, []audit.Range{{1, 3}, {5, 10}}},
		{"an event is no event", func(e *env) {
			e.write(state.Put(key(4), []byte("}"), state.Any))
		}, []audit.Fault{{audit.Changed, 4, 4}}, []audit.Range{{1, 3}, {5, 10}}},
		{"the first event is changed", func(e *env) {
			e.write(state.Put(key(1), bytes.Replace(e.doc(key(1)), []byte("a/1"), []byte("a/9"), 1), state.Any))
		}, []audit.Fault{{audit.Changed, 1, 1}}, []audit.Range{{2, 10}}},
		{"the last event is changed", func(e *env) {
			e.write(state.Put(key(10), bytes.Replace(e.doc(key(10)), []byte("a/10"), []byte("a/99"), 1), state.Any))
		}, []audit.Fault{{audit.Changed, 10, 10}}, []audit.Range{{1, 9}}},
		{"an event is removed", func(e *env) { e.write(state.Delete(key(4), state.Any)) },
			[]audit.Fault{{audit.Missing, 4, 4}}, []audit.Range{{1, 3}, {5, 10}}},
		{"several are removed", func(e *env) { e.write(state.Delete(key(4), state.Any), state.Delete(key(5), state.Any)) },
			[]audit.Fault{{audit.Missing, 4, 5}}, []audit.Range{{1, 3}, {6, 10}}},
		{"the first is removed", func(e *env) { e.write(state.Delete(key(1), state.Any)) },
			[]audit.Fault{{audit.Missing, 1, 1}}, []audit.Range{{2, 10}}},
		{"the last are removed", func(e *env) { e.write(state.Delete(key(9), state.Any), state.Delete(key(10), state.Any)) },
			[]audit.Fault{{audit.Missing, 9, 10}}, []audit.Range{{1, 8}}},
		{"two are swapped", func(e *env) {
			a, b := e.doc(key(4)), e.doc(key(6))
			e.write(state.Put(key(4), b, state.Any), state.Put(key(6), a, state.Any))
		}, []audit.Fault{{audit.Reordered, 4, 4}, {audit.Changed, 5, 5}, {audit.Reordered, 6, 6}}[:0], nil},
		{"the head is removed", func(e *env) { e.write(state.Delete("/audit-head", state.Any)) },
			[]audit.Fault{{audit.NoHead, 11, 11}}, []audit.Range{{1, 10}}},
		{"the head is an older one", func(e *env) {
			e.write(state.Put("/audit-head", []byte(`{"sequence":9,"hash":"`+hash(e, 9)+`"}`), state.Any))
		}, []audit.Fault{{audit.Surplus, 10, 10}}, []audit.Range{{1, 9}}},
		{"a foreign document", func(e *env) { e.write(state.Put("/audit/x", []byte("{}"), state.Any)) },
			[]audit.Fault{{audit.Surplus, 1, 1}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			e.add(10)
			tt.tamper(e)
			r := e.report()
			if tt.name == "two are swapped" {
				if r.Intact || !reordered(r, 4) || !reordered(r, 6) {
					t.Errorf("%+v", r)
				}
				return
			}
			if r.Intact != (len(tt.faults) == 0) {
				t.Error("intact:", r.Intact)
			}
			if tt.trusted == nil {
				return
			}
			if diff := cmp.Diff(tt.faults, r.Faults); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.trusted, r.Trusted); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func reordered(r audit.Report, at uint64) bool {
	for _, f := range r.Faults {
		if f.From <= at && f.Through >= at && f.Kind == audit.Reordered {
			return true
		}
	}
	return false
}

// hash gives the hash that the event after n has of n.
func hash(e *env, n int) string {
	var next struct {
		Previous string `json:"prev"`
	}
	if err := json.Unmarshal(e.doc(key(n+1)), &next); err != nil {
		e.Fatal(err)
	}
	return next.Previous
}

// A record whose head was taken away goes on after the last event, and says so.
func TestAppendingGoesOnWithoutAHead(t *testing.T) {
	e := newEnv(t)
	e.add(5)
	e.write(state.Delete("/audit-head", state.Any), state.Delete(key(5), state.Any), state.Put("/audit/zzz", []byte("{}"), state.Any))
	l := e.open(e.store, "node-2")
	if err := l.Append(e.ctx, audit.Event{Action: "next"}); err != nil {
		t.Fatal(err)
	}
	all := e.all()
	if n := len(all); n != 6 || all[4].Action != "Latchkey.Audit/headLost" || all[5].Action != "next" || all[5].Sequence != 6 {
		t.Errorf("%+v", all)
	}
	e.write(state.Delete("/audit/zzz", state.Any))
	if r := e.report(); !r.Intact {
		t.Errorf("%+v", r)
	}
	// The log whose events were removed finds the new end by itself.
	e.add(1)
	if r := e.report(); !r.Intact || r.Events != 7 {
		t.Errorf("%+v", r)
	}
}

func TestListFilters(t *testing.T) {
	e := newEnv(t)
	for i, ev := range []audit.Event{
		{Category: audit.Write, Action: "Microsoft.Web/sites/write", Scope: "/subscriptions/s/resourceGroups/A/x", Principal: audit.Principal{ObjectID: "OID1"}},
		{Category: audit.Denied, Action: "Microsoft.Web/sites/delete", Scope: "/subscriptions/s/resourceGroups/AB", Principal: audit.Principal{AppID: "app"}},
		{Category: audit.SecretRead, Action: "Microsoft.KeyVault/vaults/read", Scope: "/subscriptions/s/resourceGroups/a"},
	} {
		ev.Time = start.Add(time.Duration(i) * time.Hour)
		if err := e.Append(e.ctx, ev); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		filter audit.Filter
		want   []uint64
	}{
		{"everything, newest first", audit.Filter{}, []uint64{3, 2, 1}},
		{"oldest first", audit.Filter{Oldest: true}, []uint64{1, 2, 3}},
		{"category", audit.Filter{Category: "denied"}, []uint64{2}},
		{"principal by object id", audit.Filter{Principal: "oid1"}, []uint64{1}},
		{"principal by app id", audit.Filter{Principal: "APP"}, []uint64{2}},
		{"scope", audit.Filter{Scope: "/SUBSCRIPTIONS/s/resourcegroups/a"}, []uint64{3, 1}},
		{"root", audit.Filter{Scope: "/"}, []uint64{3, 2, 1}},
		{"action", audit.Filter{Action: "microsoft.web/sites/WRITE"}, []uint64{1}},
		{"actions", audit.Filter{Action: "microsoft.web/*"}, []uint64{2, 1}},
		{"from", audit.Filter{From: start.Add(time.Hour)}, []uint64{3, 2}},
		{"to", audit.Filter{To: start.Add(time.Hour)}, []uint64{1}},
		{"to, oldest first", audit.Filter{To: start.Add(time.Hour), Oldest: true}, []uint64{1}},
		{"after", audit.Filter{After: 3}, []uint64{2, 1}},
		{"after, oldest first", audit.Filter{After: 1, Oldest: true}, []uint64{2, 3}},
		{"after the last", audit.Filter{After: 1}, nil},
		{"after the last, oldest first", audit.Filter{After: 3, Oldest: true}, nil},
		{"limit", audit.Filter{Limit: 2}, []uint64{3, 2}},
	}
	for _, tt := range tests {
		list, _, err := e.List(e.ctx, tt.filter)
		var got []uint64
		for _, entry := range list {
			got = append(got, entry.Sequence)
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
}

// Pages have everything once, in both orders, also over many blocks.
func TestListPages(t *testing.T) {
	e := newEnv(t)
	const n = 1234
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := e.Append(e.ctx, audit.Event{Category: audit.Write, Action: []string{"odd", "even"}[i%2]}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, oldest := range []bool{true, false} {
		f, count := audit.Filter{Oldest: oldest, Limit: 100, Action: "odd"}, 0
		var last uint64
		for {
			list, next, err := e.List(e.ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range list {
				if last != 0 && (entry.Sequence > last) != oldest {
					t.Fatalf("%d after %d", entry.Sequence, last)
				}
				last = entry.Sequence
				count++
			}
			if next == 0 {
				break
			}
			f.After = next
		}
		if count != n/2 {
			t.Errorf("oldest first %v: %d of %d", oldest, count, n/2)
		}
	}
}

func TestExportCanBeVerifiedOffline(t *testing.T) {
	e := newEnv(t)
	e.add(10)
	var b bytes.Buffer
	if err := e.Export(e.ctx, &b); err != nil {
		t.Fatal(err)
	}
	r, err := audit.VerifyExport(bytes.NewReader(b.Bytes()))
	if diff := cmp.Diff(e.report(), r); err != nil || diff != "" || !r.Intact || r.Events != 10 {
		t.Errorf("%v\n%s", err, diff)
	}
	lines := strings.SplitAfter(b.String(), "\n") // a header and 10 events
	tests := []struct {
		name  string
		lines []string
		kind  audit.FaultKind
		at    uint64
	}{
		{"changed", replaced(lines, 4, strings.Replace(lines[4], "a/4", "a/x", 1)), audit.Changed, 4},
		{"removed", replaced(lines, 4, ""), audit.Missing, 4},
		{"cut short", lines[:8], audit.Missing, 8},
		{"repeated", replaced(lines, 4, lines[4]+lines[4]), audit.Reordered, 4},
		{"no event", replaced(lines, 4, "hello\n"), audit.Changed, 4},
	}
	for _, tt := range tests {
		r, err := audit.VerifyExport(strings.NewReader(strings.Join(tt.lines, "")))
		if err != nil || r.Intact || len(r.Faults) == 0 || r.Faults[0].Kind != tt.kind || r.Faults[0].From != tt.at {
			t.Errorf("%s: %+v %v", tt.name, r, err)
		}
	}
	for _, text := range []string{"", "{}", "x\n", strings.Join(lines[1:], "")} {
		if _, err := audit.VerifyExport(strings.NewReader(text)); !errors.Is(err, problem.Invalid) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func replaced(lines []string, at int, with string) []string {
	out := append([]string(nil), lines...)
	out[at] = with
	return out
}

func FuzzVerifyExport(f *testing.F) {
	f.Add([]byte(`{"latchkeyAuditExport":1,"anchor":{"sequence":0,"hash":""},"head":{"sequence":1,"hash":"x"}}` + "\n" + `{"seq":1,"prev":"","event":{}}`))
	f.Add([]byte(`{"latchkeyAuditExport":1,"anchor":{"sequence":18446744073709551615}}` + "\n{}\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := audit.VerifyExport(bytes.NewReader(text))
		if err == nil && r.Intact && r.Events > 0 && r.Head.Hash == "" {
			t.Errorf("vouched for by nothing: %+v", r)
		}
	})
}

func TestTrimLeavesWhatCanBeVerified(t *testing.T) {
	e := newEnv(t)
	for i := range 250 {
		if err := e.Append(e.ctx, audit.Event{Action: "x", Time: start.Add(time.Duration(i) * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	n, err := e.Trim(e.ctx, start.Add(200*time.Minute))
	if err != nil || n != 200 {
		t.Fatal(n, err)
	}
	r := e.report()
	if !r.Intact || r.Anchor.Sequence != 200 || r.Events != 51 || len(r.Trusted) != 1 || r.Trusted[0] != (audit.Range{From: 201, Through: 251}) {
		t.Errorf("%+v", r)
	}
	if all := e.all(); len(all) != 51 || all[0].Sequence != 201 || all[50].Action != "Latchkey.Audit/trimmed" {
		t.Errorf("%d events", len(all))
	}
	if n, err := e.Trim(e.ctx, start); n != 0 || err != nil {
		t.Error(n, err)
	}
	e.write(state.Put(key(201), []byte(`{"seq":201}`), state.Any))
	if _, err := e.Trim(e.ctx, start.Add(1000*time.Hour)); !errors.Is(err, problem.Undecryptable) {
		t.Error("a damaged event was trimmed away:", err)
	}
	if _, err := newEnv(t).Trim(e.ctx, start.Add(1000*time.Hour)); err != nil {
		t.Error(err)
	}
}
