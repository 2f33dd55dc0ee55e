// Package containerapps_test holds container apps to their promises from end to end:
// a node with its management API, ingress and identity endpoint, and containers on
// the engines that the machine has.
package containerapps_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestTheLifecycleMatrixHoldsOnProcesses(t *testing.T) {
	holds(t, platform.Config{Containers: platform.ContainersConfig{Engine: platform.EngineProcess, ProcessAsRoot: true}}, folderImage(t))
}

func TestTheLifecycleMatrixHoldsOnDocker(t *testing.T) {
	onDaemon(t, localengine.Docker(t))
}

func TestTheLifecycleMatrixHoldsOnPodman(t *testing.T) {
	onDaemon(t, localengine.Podman(t))
}

func onDaemon(t *testing.T, d *localengine.Daemon) {
	d.Load(t, localengine.Build(t, program), image)
	holds(t, platform.Config{DataDir: shortDir(t), Containers: platform.ContainersConfig{
		Engine: platform.EngineDocker, Host: d.Host, Sidecar: localengine.Build(t, latchkey)}}, image)
}

// shortDir is a folder in which a socket's path is not too long.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk-apps")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// matrix is a node with four apps, whose own identity has one lifecycle each, and
// which all have four further identities, one of each lifecycle.
type matrix struct {
	*testing.T
	arm
	node  *platformtest.Platform
	image string
	users map[string]who    // by what they are called
	apps  map[string]object // by the lifecycle that their own identity had at first
	own   map[string]who    // of the apps
	seen  map[cell]bool
	// shift is what lifecycles were moved by since.
	shift int
}

// life gives the lifecycle that an identity has now, which had another at first.
func (m *matrix) life(first string) string {
	return lifecycles[(slices.Index(lifecycles, first)+m.shift)%len(lifecycles)]
}

func holds(t *testing.T, cfg platform.Config, image string) {
	node := platformtest.Start(t, cfg)
	m := &matrix{T: t, arm: armOf(node.Client, node.Cred), node: node, image: image,
		users: map[string]who{}, apps: map[string]object{}, own: map[string]who{}, seen: map[cell]bool{}}
	m.prepare(t)
	for _, l := range lifecycles {
		m.users[l] = m.identity(t, "user-"+strings.ToLower(l))
	}
	for _, l := range lifecycles { // only then their own identities are there to be asked for
		m.do(t, "PUT", m.app(name(l)), m.wish(l, nil))
	}
	for _, l := range lifecycles {
		m.own[l] = m.system(t, name(l))
	}
	m.deploy()
	m.check("at first")
	m.audited()
	m.restart()
	m.reassign()
	m.change()
	if len(m.seen) != 64 {
		t.Errorf("%d cells were checked", len(m.seen))
	}
	m.end()
}

func name(life string) string { return "app-" + strings.ToLower(life) }

func (m *matrix) identities() object {
	ids := object{}
	for _, w := range m.users {
		ids[w.id] = object{}
	}
	return object{"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": ids}
}

func (m *matrix) settings(life string) []any {
	list := []any{object{"identity": "system", "lifecycle": m.life(life)}}
	for first, w := range m.users {
		list = append(list, object{"identity": w.id, "lifecycle": m.life(first)})
	}
	return list
}

// settings are the properties to change lifecycles by. What is set for an identity goes
// with it.
func settings(list []any) object {
	return object{"configuration": object{"identitySettings": list}}
}

func (m *matrix) wish(life string, ask []string) object {
	return m.body(m.image, m.identities(), m.settings(life), ask, 1)
}

func (m *matrix) asked(life string) []string {
	return queries(slices.Concat([]who{m.own[life]}, slices.Collect(maps.Values(m.users)))...)
}

// deploy puts the apps with init containers that ask for everything, and waits until
// those that were put serve.
func (m *matrix) deploy() {
	m.Helper()
	for _, l := range lifecycles {
		m.do(m.T, "PUT", m.app(name(l)), m.wish(l, m.asked(l)))
	}
	for _, l := range lifecycles {
		m.apps[l] = m.settled(m.T, name(l))
	}
}

// tell asks the main container of an app, once that runs which so says.
func (m *matrix) tell(life, path string, q *question, so func(told) bool) (got told) {
	m.Helper()
	host := inside(m.apps[life], "properties", "configuration", "ingress", "fqdn").(string)
	platformtest.Until(m.T, name(life)+" answers at "+path, func() bool {
		var err error
		got, err = talk(m.Context(), "http://"+m.node.Node.FunctionsAddr()+path, host, q)
		return err == nil && so(got)
	})
	return got
}

func anything(told) bool { return true }

// complete reports whether an init container was asked for what the app has now.
func (m *matrix) complete(life string) func(told) bool {
	return func(got told) bool {
		for _, q := range m.asked(life) {
			if _, there := got.Answers[q]; !there {
				return false
			}
		}
		return true
	}
}

// check checks every cell, and that secrets of init containers are dead.
func (m *matrix) check(when string) {
	m.Helper()
	for _, l := range lifecycles {
		first := m.tell(l, "/init", nil, m.complete(l))
		main := m.tell(l, "/ask", &question{Queries: m.asked(l)}, anything)
		m.cells(when, "init", l, first)
		m.cells(when, "main", l, main)
		m.dead(when+": the init container's secret", l, first.Header)
		if first.Header == main.Header {
			m.Errorf("%s: %s: the containers have the same secret", when, l)
		}
	}
}

func (m *matrix) cells(when, role, app string, got told) {
	m.Helper()
	own := m.own[app]
	for _, s := range selectors {
		c := cell{m.life(app), role, "system", s}
		m.seen[c] = true
		checkCell(m.T, when, c, own, got.Answers[query(own, s)], allows[c.life][role])
	}
	for first, w := range m.users {
		for _, s := range selectors {
			c := cell{m.life(first), role, "user", s}
			m.seen[c] = true
			if s == "none" { // never this one, but the app's own
				checkCell(m.T, when, c, own, got.Answers[""], allows[m.life(app)][role])
				continue
			}
			checkCell(m.T, when, c, w, got.Answers[query(w, s)], allows[c.life][role])
		}
	}
}

// dead checks that a secret gets nothing, wherever it comes from.
func (m *matrix) dead(when, app, header string) {
	m.Helper()
	for q, a := range m.tell(app, "/ask", &question{Header: header, Queries: m.asked(app)}, anything).Answers {
		if !isDead(a) {
			m.Errorf("%s asking for %q in %s: %d %s", when, q, app, a.Status, a.Body)
		}
	}
}

// audited checks that each refusal of a cell is in the audit log, of its app and
// identity and with its reason.
func (m *matrix) audited() {
	m.Helper()
	platformtest.Until(m.T, "refusals are in the audit log", func() bool {
		list, err := armclient.List[json.RawMessage](m.Context(), m.Client, "/providers/Latchkey.Audit/events?category=denied")
		if err != nil {
			m.Fatal(err)
		}
		for _, l := range lifecycles {
			for first, w := range m.users {
				if !denial(list, m.app(name(l)), w.principal, first) {
					return false
				}
			}
			if !denial(list, m.app(name(l)), m.own[l].principal, l) {
				return false
			}
		}
		return true
	})
}

// denial reports whether a refusal that the lifecycle is the reason of is there, or
// must not be.
func denial(list []json.RawMessage, app, principal, life string) bool {
	there := slices.ContainsFunc(list, func(e json.RawMessage) bool {
		text := strings.ToLower(string(e))
		return strings.Contains(text, strings.ToLower(app)) && strings.Contains(text, strings.ToLower(principal)) && strings.Contains(text, "lifecycle is "+strings.ToLower(life))
	})
	return there == (life != "All")
}

// restart stops and starts the apps: the cells are the same and all secrets others.
func (m *matrix) restart() {
	m.Helper()
	before := map[string]string{}
	for _, l := range lifecycles {
		before[l] = m.tell(l, "/ask", &question{}, anything).Header
		m.do(m.T, "POST", m.app(name(l))+"/stop", nil)
	}
	for _, l := range lifecycles {
		platformtest.Until(m.T, "nothing runs of "+l, func() bool {
			list, err := m.replicas(m.Context(), m.apps[l])
			return err == nil && len(list) == 0
		})
		m.do(m.T, "POST", m.app(name(l))+"/start", nil)
	}
	for _, l := range lifecycles {
		m.tell(l, "/ask", &question{}, func(got told) bool { return got.Header != before[l] })
		m.dead("after stop and start: the secret before", l, before[l])
	}
	m.check("after stop and start")
}

// reassign takes all identities away and assigns them again: main containers know at
// once, and without a restart.
func (m *matrix) reassign() {
	m.Helper()
	for _, l := range lifecycles {
		was := m.tell(l, "/ask", &question{}, anything).Header
		m.do(m.T, "PATCH", m.app(name(l)), object{"identity": object{"type": "None"}, "properties": settings([]any{})})
		for q, a := range m.tell(l, "/ask", &question{Queries: m.asked(l)}, anything).Answers {
			if !isRefusal(a) {
				m.Errorf("taken away, but %s asking for %q: %d %s", l, q, a.Status, a.Body)
			}
		}
		m.do(m.T, "PATCH", m.app(name(l)), object{"identity": m.identities(), "properties": settings(m.settings(l))})
		old := m.own[l]
		m.own[l] = m.system(m.T, name(l))
		again := m.tell(l, "/ask", &question{Queries: m.asked(l)}, anything)
		m.cells("assigned again", "main", l, again)
		for _, s := range selectors[1:3] { // the id of the app is the same
			if a := m.tell(l, "/ask", &question{Queries: []string{query(old, s)}}, anything).Answers[query(old, s)]; !isRefusal(a) {
				m.Errorf("the app's identity of before, by %s: %d %s", s, a.Status, a.Body)
			}
		}
		if again.Header != was {
			m.Errorf("%s was restarted", l)
		}
	}
	m.deploy()
	m.check("assigned again")
}

// change gives each identity another lifecycle: main containers know at once, and
// without a restart, init ones when they run the next time.
func (m *matrix) change() {
	m.Helper()
	for m.shift = 1; m.shift < len(lifecycles); m.shift++ {
		for _, l := range lifecycles {
			was := m.tell(l, "/ask", &question{}, anything).Header
			m.do(m.T, "PATCH", m.app(name(l)), object{"properties": settings(m.settings(l))})
			got := m.tell(l, "/ask", &question{Queries: m.asked(l)}, anything)
			m.cells(fmt.Sprintf("lifecycles moved by %d", m.shift), "main", l, got)
			if got.Header != was {
				m.Errorf("%s was restarted", l)
			}
		}
	}
	m.shift--
	m.restart()
}

// end deletes the apps, of which nothing may be left.
func (m *matrix) end() {
	m.Helper()
	for _, l := range lifecycles {
		m.do(m.T, "DELETE", m.app(name(l)), nil)
	}
}
