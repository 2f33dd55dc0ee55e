package containerapps_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
)

// killsSetting says for how long processes, containers and engines are killed, such
// as 10m; without it they are killed a few times.
const killsSetting = "LATCHKEY_TEST_CONTAINERS_KILLS"

const fewKills = 8

// mending bounds how long it may take until all is well after a kill: containers that
// end again and again are started after longer and longer pauses.
const mending = 5 * time.Minute

func TestKillsLeaveNothingBehindAndNoIdentityToOthersOnProcesses(t *testing.T) {
	t.Setenv("LATCHKEY_CONTAINERS_PROCESS_AS_ROOT", "true")
	dir := shortDir(t)
	n := startNode(t, localengine.Build(t, latchkey), dir, "--containers", "process")
	survives(t, n, processes{dir}, folderImage(t))
}

func TestKillsLeaveNothingBehindAndNoIdentityToOthersOnDocker(t *testing.T) {
	d := localengine.Docker(t)
	w := dockers{d, d.Load(t, localengine.Build(t, program), image)}
	t.Setenv("DOCKER_HOST", d.Host)
	survives(t, startNode(t, localengine.Build(t, latchkey), shortDir(t), "--containers", "docker"), w, image)
}

// chaos is a node whose apps are watched while it is killed.
type chaos struct {
	*testing.T
	arm
	n     *node
	w     world
	users map[string]who // by lifecycle
	apps  []*watched

	asked, refused, away atomic.Int64 // answers with a token, without one, and none
	leaks                chan string
}

// watched is an app and all secrets that its containers ever had.
type watched struct {
	name     string
	replicas int
	own      who
	host     string
	shown    object

	mu      sync.Mutex
	headers map[string]string // role by secret
}

func survives(t *testing.T, n *node, w world, image string) {
	c := &chaos{T: t, arm: n.owner(t), n: n, w: w, users: map[string]who{}, leaks: make(chan string, 100)}
	c.prepare(t)
	settings, ids := []any{object{"identity": "system", "lifecycle": "Main"}}, object{}
	for _, l := range lifecycles {
		u := c.identity(t, "user-"+strings.ToLower(l))
		c.users[l], ids[u.id] = u, object{}
		settings = append(settings, object{"identity": u.id, "lifecycle": l})
	}
	identities := object{"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": ids}
	for _, a := range []*watched{{name: "one", replicas: 1}, {name: "two", replicas: 2}} {
		a.headers = map[string]string{}
		c.do(t, "PUT", c.app(a.name), c.body(image, identities, settings, c.queries(), a.replicas))
		c.apps = append(c.apps, a)
	}
	for _, a := range c.apps {
		a.own, a.shown = c.system(t, a.name), c.settled(t, a.name)
		a.host = inside(a.shown, "properties", "configuration", "ingress", "fqdn").(string)
	}
	c.await("the beginning")
	rounds := c.killed()
	for _, a := range c.apps {
		c.do(t, "DELETE", c.app(a.name), nil)
	}
	c.until("nothing is left of deleted apps", func() string {
		list, rest, err := c.w.things(t.Context())
		if err != nil || len(list)+len(rest) > 0 {
			return fmt.Sprint(list, rest, err)
		}
		return ""
	})
	t.Logf("%d kills; %d tokens, %d refusals, %d requests without an answer; no leak, nothing left", rounds, c.asked.Load(), c.refused.Load(), c.away.Load())
}

func (c *chaos) queries() []string {
	var list []string
	for _, l := range lifecycles {
		list = append(list, query(c.users[l], "mi_res_id"), query(c.users[l], "client_id"))
	}
	return append(list, "")
}

// killed kills at random, for as long as it is wanted, and waits each time until all
// is as it should be; it gives how often.
func (c *chaos) killed() (n int) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	var probes sync.WaitGroup
	defer probes.Wait()
	defer stop()
	for _, a := range c.apps {
		probes.Go(func() { c.probe(ctx, a) })
	}
	seed := uint64(time.Now().UnixNano())
	c.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	end, long := c.patience()
	for n = 0; (long && time.Now().Before(end)) || (!long && n < fewKills); n++ {
		what := c.one(rng, n)
		began := time.Now()
		c.await(what)
		c.Logf("%d: %s; all was well after %s", n, what, time.Since(began).Round(10*time.Millisecond))
		if c.Failed() {
			return n
		}
	}
	return n
}

// patience tells when to end, if a time was asked for.
func (c *chaos) patience() (time.Time, bool) {
	text := os.Getenv(killsSetting)
	if text == "" {
		return time.Time{}, false
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		c.Fatalf("%s: %v", killsSetting, err)
	}
	return time.Now().Add(d), true
}

// one kills something and starts again what would not by itself. The first ones are
// one of each, so that few rounds kill everything.
func (c *chaos) one(rng *rand.Rand, n int) string {
	c.Helper()
	which := n
	if n > 3 {
		which = rng.IntN(4)
	}
	switch which {
	case 0:
		return c.container(rng)
	case 1:
		c.n.kill()
		c.n.start(c)
		return "Latchkey"
	case 2:
		c.n.kill()
		what := c.container(rng)
		c.n.start(c)
		return "Latchkey, and then " + what
	}
	if c.w.killEngine(c) {
		return "the engine"
	}
	return c.container(rng) + ", and " + c.container(rng)
}

// container kills one that runs.
func (c *chaos) container(rng *rand.Rand) string {
	c.Helper()
	list, _, err := c.w.things(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(o thing) bool { return !o.up })
	if len(list) == 0 {
		return "no container"
	}
	o := list[rng.IntN(len(list))]
	o.kill(c)
	return "container " + o.name + " of " + o.replica
}

// until waits until nothing is said to be wrong.
func (c *chaos) until(what string, wrong func() string) {
	c.Helper()
	deadline := time.Now().Add(mending)
	for {
		last := wrong()
		c.leaked(what)
		if last == "" || c.Failed() {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("after the end of %s: %s", what, last)
		}
		time.Sleep(20 * time.Millisecond) // between looks at other processes
	}
}

// leaked fails the test for tokens that containers should not have got.
func (c *chaos) leaked(what string) {
	c.Helper()
	for {
		select {
		case leak := <-c.leaks:
			c.Errorf("about the end of %s: %s", what, leak)
		default:
			return
		}
	}
}

// await waits until there is what is wanted and nothing else, all apps answer, and
// secrets of containers that ended are dead.
func (c *chaos) await(what string) {
	c.Helper()
	for _, a := range c.apps {
		c.until(what, func() string { return c.astray() + c.silent(a) })
	}
}

// astray says what there is on the machine that is not wanted, or is not there.
func (c *chaos) astray() string {
	wanted := map[string]int{}
	for _, a := range c.apps {
		names, err := c.replicas(c.Context(), a.shown)
		if err != nil || len(names) != a.replicas {
			return fmt.Sprintf("%s has replicas %v %v; ", a.name, names, err)
		}
		for _, name := range names {
			wanted[name] = 0
		}
	}
	list, rest, err := c.w.things(c.Context())
	if err != nil {
		return err.Error()
	}
	parts := 1
	if c.w.sidecar() != "" {
		parts = 2
	}
	for _, o := range list {
		count, there := wanted[o.replica]
		if !there {
			return fmt.Sprintf("%s of %s is an orphan; ", o.name, o.replica)
		}
		if o.up {
			wanted[o.replica] = count + 1
		}
		if o.up && o.name != "main" && o.name != c.w.sidecar() || !o.up && o.name != "init" {
			return fmt.Sprintf("%s of %s: up %v; ", o.name, o.replica, o.up)
		}
	}
	for name, count := range wanted {
		if count != parts {
			return fmt.Sprintf("%s has %d containers; ", name, count)
		}
	}
	return others(wanted, rest)
}

// others says what there is besides containers of a replica that is not there.
func others(wanted map[string]int, rest []string) string {
	for _, r := range rest {
		mine := false
		for name := range wanted {
			mine = mine || strings.HasSuffix(r, name)
		}
		if !mine {
			return "there is still " + r + "; "
		}
	}
	return ""
}

// silent says what is wrong with the answers of an app.
func (c *chaos) silent(a *watched) string {
	now := map[string]bool{}
	for range 50 { // requests go to replicas in turn
		first, main, err := c.ask(c.Context(), a)
		if err != nil {
			return fmt.Sprintf("%s: %v; ", a.name, err)
		}
		now[main.Header], now[first.Header] = true, false
		for _, l := range lifecycles {
			for _, s := range []string{"mi_res_id", "client_id"} {
				u := c.users[l]
				if got := granted(main.Answers[query(u, s)]); allows[l]["main"] != (got == u.principal) {
					return fmt.Sprintf("%s, %s in its main container: %q; ", a.name, l, got)
				}
			}
		}
		if living(now) == a.replicas {
			return c.alive(a, now)
		}
	}
	return fmt.Sprintf("%d replicas of %s answer; ", living(now), a.name)
}

func living(headers map[string]bool) (n int) {
	for _, is := range headers {
		if is {
			n++
		}
	}
	return n
}

// alive says which secrets still count and should not.
func (c *chaos) alive(a *watched, now map[string]bool) string {
	a.mu.Lock()
	old := []string{}
	for h := range a.headers {
		if !now[h] {
			old = append(old, h)
		}
	}
	a.mu.Unlock()
	for _, h := range old {
		got, err := talk(c.Context(), "http://"+c.n.Functions+"/ask", a.host, &question{Header: h, Queries: []string{""}})
		if err != nil {
			return err.Error()
		}
		if !isDead(got.Answers[""]) {
			return fmt.Sprintf("%s: a secret of before counts: %+v; ", a.name, got.Answers[""])
		}
	}
	return ""
}

// ask asks a replica of an app for everything, and holds what it got against what it
// may get.
func (c *chaos) ask(ctx context.Context, a *watched) (first, main told, err error) {
	if first, err = talk(ctx, "http://"+c.n.Functions+"/init", a.host, nil); err == nil {
		main, err = talk(ctx, "http://"+c.n.Functions+"/ask", a.host, &question{Queries: c.queries()})
	}
	if err != nil {
		return first, main, err
	}
	a.mu.Lock()
	a.headers[first.Header], a.headers[main.Header] = "init", "main"
	a.mu.Unlock()
	c.hold(a, "init", first)
	c.hold(a, "main", main)
	dead, err := talk(ctx, "http://"+c.n.Functions+"/ask", a.host, &question{Header: first.Header, Queries: c.queries()})
	if err != nil {
		return first, main, err
	}
	for q, got := range dead.Answers {
		if who := granted(got); who != "" {
			c.leak(fmt.Sprintf("%s: the init container's secret got a token of %s for %q", a.name, who, q))
		}
	}
	return first, main, nil
}

// hold checks that a container of a role got tokens of none but its identities.
func (c *chaos) hold(a *watched, role string, got told) {
	may := map[string]string{}
	if role == "main" {
		may[""] = a.own.principal
	}
	for _, l := range lifecycles {
		for _, s := range []string{"mi_res_id", "client_id"} {
			if allows[l][role] {
				may[query(c.users[l], s)] = c.users[l].principal
			}
		}
	}
	for q, answer := range got.Answers {
		switch who := granted(answer); {
		case who == "":
			c.refused.Add(1)
		case who == may[q]:
			c.asked.Add(1)
		default:
			c.leak(fmt.Sprintf("%s: its %s container got a token of %s for %q", a.name, role, who, q))
		}
	}
}

func (c *chaos) leak(text string) {
	select {
	case c.leaks <- text:
	default: // there are enough
	}
}

// probe asks an app again and again.
func (c *chaos) probe(ctx context.Context, a *watched) {
	for ctx.Err() == nil {
		if _, _, err := c.ask(ctx, a); err != nil && !errors.Is(err, context.Canceled) {
			c.away.Add(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // others need the machine too
		}
	}
}
