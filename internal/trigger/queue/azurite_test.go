package queue_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/queue"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
	"github.com/latchkey/latchkey/internal/trigger/storage"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/test/azurite"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// place is a queue service with a function that is run for its messages.
type place struct {
	t          *testing.T
	connection string
	account    *account.Account
	cfg        queue.Config
	options    funcapp.QueuesConfig
	clock      clock.Clock
	log        *lines
}

func fast() funcapp.QueuesConfig {
	return funcapp.QueuesConfig{BatchSize: 16, NewBatchThreshold: 8, MaxPollingInterval: 200 * time.Millisecond, MaxDequeueCount: 5, MessageEncoding: "base64"}
}

func newPlace(t *testing.T, connection string) *place {
	t.Helper()
	a, err := storage.Resolve(func(string) string { return connection }, "", storage.Queues())
	if err != nil {
		t.Fatal(err)
	}
	acc, err := account.Open(account.Config{Account: a, Retry: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return &place{t: t, connection: connection, account: acc, options: fast(), clock: clock.Real{}, log: newLines(t),
		cfg: queue.Config{Lease: 30 * time.Second, Retry: 20 * time.Millisecond}}
}

// start runs a listener until the test ends or the returned function is called.
func (p *place) start(name string, invoke func(ctx context.Context, c trigger.Call) (*worker.Result, error)) (stop func()) {
	p.t.Helper()
	s := p.setup(name, invoke)
	src, _ := queue.Bindings(p.cfg)
	if faults := src.Check(s); len(faults) > 0 {
		p.t.Fatal(faults)
	}
	l, err := src.Listener(s)
	if err == nil {
		err = l.Start(p.t.Context())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { l.Stop(p.t.Context()) })
	p.t.Cleanup(stop)
	return stop
}

func (p *place) setup(name string, invoke func(ctx context.Context, c trigger.Call) (*worker.Result, error)) *trigger.Setup {
	b := &funcapp.Binding{Name: "item", Type: "queueTrigger", Properties: map[string]any{"queuename": name}}
	return &trigger.Setup{
		App: "app", Function: &funcapp.Function{Name: "Work", Bindings: []funcapp.Binding{*b}}, Binding: b,
		Host: &funcapp.HostConfig{Queues: p.options}, Setting: func(string) string { return p.connection },
		Invoke: invoke, Clock: p.clock, Log: slog.New(p.log), Metrics: &figures{},
	}
}

func (p *place) send(name string, texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		if err := p.account.Queue(name).Send(p.t.Context(), base64.StdEncoding.EncodeToString([]byte(text))); err != nil {
			p.t.Fatal(err)
		}
	}
}

// length waits until a queue has so many messages.
func (p *place) length(name string, want int64) {
	p.t.Helper()
	var n int64
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n, err = p.account.Queue(name).Length(p.t.Context()); err == nil && n == want || want == 0 && errors.Is(err, account.ErrNoQueue) {
			return
		}
	}
	p.t.Fatalf("queue %s has %d messages, want %d (%v)", name, n, want, err)
}

// take takes all messages of a queue.
func (p *place) take(name string) (list []message.Received) {
	p.t.Helper()
	for {
		got, err := p.account.Queue(name).Receive(p.t.Context(), 32, time.Hour)
		if err != nil && !errors.Is(err, account.ErrNoQueue) {
			p.t.Fatal(err)
		}
		if len(got) == 0 {
			return list
		}
		list = append(list, got...)
	}
}

type figures struct {
	mu  sync.Mutex
	all []int64
}

func (f *figures) Backlog(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, n)
}

// lines keeps what is logged, and shows it when a test fails.
type lines struct {
	slog.Handler
	mu   *sync.Mutex
	text *[]string
}

func newLines(t *testing.T) *lines {
	return &lines{slog.NewTextHandler(t.Output(), nil), new(sync.Mutex), new([]string)}
}

func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	*l.text = append(*l.text, text)
	l.mu.Unlock()
	return l.Handler.Handle(ctx, r)
}

func (l *lines) WithAttrs(a []slog.Attr) slog.Handler {
	return &lines{l.Handler.WithAttrs(a), l.mu, l.text}
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), *l.text...)
}

func containsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

func emulator(t *testing.T) *place {
	return newPlace(t, azurite.Start(t, azurite.Options{Queues: true}).ConnectionString())
}

func TestMessagesRunAndAreDeleted(t *testing.T) {
	p := emulator(t)
	p.send("orders", "hello", `{"id": "7", "n": 1}`)
	got := make(chan trigger.Call, 8)
	stop := p.start("Orders", func(_ context.Context, c trigger.Call) (*worker.Result, error) { got <- c; return nil, nil })
	inputs := map[any]trigger.Call{}
	for range 2 {
		select {
		case c := <-got:
			inputs[c.Input] = c
		case <-time.After(patience):
			t.Fatal("a message did not run")
		}
	}
	text, object := inputs["hello"], inputs[`{"id": "7", "n": 1}`]
	if text.Metadata["QueueTrigger"] != "hello" || text.Metadata["DequeueCount"] != int64(1) || text.Metadata["PopReceipt"] == "" || !text.NoRetry {
		t.Errorf("%+v", text)
	}
	for _, name := range []string{"ExpirationTime", "InsertionTime", "NextVisibleTime"} {
		if at, ok := text.Metadata[name].(time.Time); !ok || at.IsZero() {
			t.Errorf("%s is %v", name, text.Metadata[name])
		}
	}
	if object.Metadata["id"] != "7" || string(object.Metadata["n"].(json.RawMessage)) != "1" || object.Metadata["Id"] != nil {
		t.Errorf("%+v", object.Metadata)
	}
	p.length("orders", 0)
	stop()
	if left := p.take("orders-poison"); len(left) > 0 {
		t.Error(left)
	}
}

func TestAMessageThatFailsIsTriedAgainThenPoison(t *testing.T) {
	p := emulator(t)
	p.options.MaxDequeueCount = 3
	p.send("orders", "bad", "good")
	var mu sync.Mutex
	runs := map[any]int{}
	p.start("orders", func(_ context.Context, c trigger.Call) (*worker.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		runs[c.Input]++
		if c.Input == "bad" {
			return nil, errors.New("it cannot be stomached")
		}
		return nil, nil
	})
	p.length("orders-poison", 1)
	p.length("orders", 0)
	mu.Lock()
	defer mu.Unlock()
	if runs["bad"] != 3 || runs["good"] != 1 {
		t.Error(runs)
	}
	if left := p.take("orders-poison"); len(left) != 1 || left[0].Text != base64.StdEncoding.EncodeToString([]byte("bad")) {
		t.Error(left)
	}
	p.log.want(t, "moved to the poison queue", "it cannot be stomached", "dequeue_count=3")
}

func (l *lines) want(t *testing.T, parts ...string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, line := range l.all() {
			if containsAll(line, parts) {
				return
			}
		}
	}
	t.Errorf("no line of the log has %q", parts)
}

func TestAMissingQueueIsToleratedAndItsMessagesRunOnceItExists(t *testing.T) {
	p := emulator(t)
	ran := make(chan struct{}, 1)
	p.start("later", func(context.Context, trigger.Call) (*worker.Result, error) { ran <- struct{}{}; return nil, nil })
	p.log.want(t, "the queue does not exist")
	p.send("later", "x")
	select {
	case <-ran:
	case <-time.After(patience):
		t.Fatal("it did not run")
	}
	p.log.want(t, "can be read again")
}

func TestAMessageThatIsNotInTheEncodingIsPoison(t *testing.T) {
	p := emulator(t)
	if err := p.account.Queue("orders").Send(t.Context(), "{not base64}"); err != nil {
		t.Fatal(err)
	}
	p.start("orders", func(context.Context, trigger.Call) (*worker.Result, error) {
		t.Error("it ran")
		return nil, nil
	})
	p.length("orders-poison", 1)
	p.log.want(t, "poison", "not base64", "messageEncoding")
}

func TestOutputsSendMessages(t *testing.T) {
	p := emulator(t)
	_, sink := queue.Bindings(p.cfg)
	s := p.setup("{region}-Orders", nil)
	s.Binding.Type, s.Binding.Direction = "queue", funcapp.Out
	if faults := sink.Check(s); len(faults) > 0 {
		t.Fatal(faults)
	}
	out, err := sink.Output(s)
	if err != nil {
		t.Fatal(err)
	}
	inv := &worker.Invocation{Function: s.Function, Metadata: map[string]any{"region": "eu"}}
	if err := out.Send(t.Context(), inv, json.RawMessage(`["a", {"b": 1}]`), nil); err != nil {
		t.Fatal(err)
	}
	if err := out.Send(t.Context(), inv, nil, []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range p.take("eu-orders") {
		text, err := base64.StdEncoding.DecodeString(m.Text)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	if len(got) != 3 || got[0] != "a" || got[1] != `{"b": 1}` || got[2] != "\xff" {
		t.Errorf("%q", got)
	}
	inv.Metadata["region"] = "!"
	if err := out.Send(t.Context(), inv, json.RawMessage(`"a"`), nil); err == nil {
		t.Error("a name that cannot be was taken")
	}
}
