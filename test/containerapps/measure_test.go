package containerapps_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// measureSetting says that times and memory are to be measured, and with how many
// apps of two replicas.
const measureSetting = "LATCHKEY_TEST_MEASURE_CONTAINERS"

// rounds is how often each time is taken; the middle one counts.
const rounds = 9

// meter is a node on a Docker engine of its own.
type meter struct {
	*testing.T
	arm
	n  *node
	d  *localengine.Daemon
	cl *client.Client
}

// It measures what the performance notes tell of container apps. It fails for
// nothing but faults: what is too slow here is so of a machine.
func TestMeasureContainerApps(t *testing.T) {
	apps, err := strconv.Atoi(os.Getenv(measureSetting))
	if err != nil {
		t.Skip("set " + measureSetting + "=50, or run make bench-containers")
	}
	d := localengine.Docker(t)
	m := &meter{T: t, d: d, cl: d.Load(t, localengine.Build(t, program), image)}
	t.Setenv("DOCKER_HOST", d.Host)
	m.n = startNode(t, localengine.Build(t, latchkey), shortDir(t), "--containers", "docker")
	m.arm = m.n.owner(t)
	m.prepare(t)
	m.deployed()
	m.fromZero()
	m.tokens()
	m.many(apps)
}

func (m *meter) wish(replicas int) object {
	return m.body(image, object{"type": "SystemAssigned"}, []any{}, nil, replicas)
}

// put puts an app and waits until a request to it is answered.
func (m *meter) put(name string, wish object) (host string, took time.Duration) {
	m.Helper()
	began := time.Now()
	got := m.do(m.T, "PUT", m.app(name), wish)
	host = inside(got, "properties", "configuration", "ingress", "fqdn").(string)
	m.answers(host)
	return host, time.Since(began)
}

func (m *meter) answers(host string) {
	m.Helper()
	platformtest.Until(m.T, host+" answers", func() bool {
		_, err := talk(m.Context(), "http://"+m.n.Functions+"/ask", host, &question{})
		return err == nil
	})
}

func middle(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2].Round(time.Millisecond)
}

func (m *meter) deployed() {
	var all []time.Duration
	for i := range rounds {
		name := "put-" + strconv.Itoa(i)
		_, took := m.put(name, m.wish(1))
		all = append(all, took)
		m.do(m.T, "DELETE", m.app(name), nil)
	}
	m.Logf("PUT to the first answered request: %v of %v", middle(all), all)
}

// bare gives the time that the engine takes from the wish for a container until that
// answers.
func (m *meter) bare() time.Duration {
	began := time.Now()
	at := localengine.Run(m.T, m.cl, image, []string{"main"}, 8080)
	platformtest.Until(m.T, "the container answers", func() bool {
		_, err := talk(m.Context(), "http://"+at+"/ask", "", &question{})
		return err == nil
	})
	return time.Since(began)
}

func (m *meter) fromZero() {
	wish := m.wish(0)
	wish["properties"].(object)["template"].(object)["scale"] = object{"minReplicas": 0, "maxReplicas": 1, "cooldownPeriod": 1, "pollingInterval": 1}
	host, _ := m.put("zero", wish)
	app := m.settled(m.T, "zero")
	var bare, all []time.Duration
	for range rounds {
		platformtest.Until(m.T, "nothing runs", func() bool {
			list, err := m.replicas(m.Context(), app)
			return err == nil && len(list) == 0
		})
		bare = append(bare, m.bare())
		began := time.Now()
		m.answers(host)
		all = append(all, time.Since(began))
	}
	m.do(m.T, "DELETE", m.app("zero"), nil)
	m.Logf("a request at zero: %v of %v; a container by itself: %v of %v", middle(all), all, middle(bare), bare)
}

func (m *meter) tokens() {
	host, _ := m.put("tokens", m.wish(1))
	var all []time.Duration
	for range rounds {
		got, err := talk(m.Context(), "http://"+m.n.Functions+"/ask", host, &question{Queries: []string{""}, Times: 201})
		if err != nil || granted(got.Answers[""]) == "" {
			m.Fatal(got, err)
		}
		all = append(all, time.Duration(got.Answers[""].Micros)*time.Microsecond)
	}
	slices.Sort(all)
	m.do(m.T, "DELETE", m.app("tokens"), nil)
	m.Logf("a token in a container, p50: %v of %v", all[len(all)/2], all)
}

// many measures with many apps of which nobody wants anything.
func (m *meter) many(apps int) {
	began := time.Now()
	for i := range apps {
		name := "idle-" + strconv.Itoa(i)
		m.do(m.T, "PUT", m.app(name), m.wish(2))
		m.settled(m.T, name)
	}
	m.Logf("%d apps of two replicas run after %v", apps, time.Since(began).Round(time.Second))
	var shares []float64
	for range 5 {
		from, at := cpu(m.T, m.n.cmd.Process.Pid), time.Now()
		time.Sleep(10 * time.Second) // the time over which it is measured
		shares = append(shares, 100*(cpu(m.T, m.n.cmd.Process.Pid)-from).Seconds()/time.Since(at).Seconds())
	}
	slices.Sort(shares)
	rss, pss := memory(m.T, m.n.cmd.Process.Pid)
	m.Logf("idle with %d apps of two replicas: %.2f %% of a core (of %.2f); %d MiB resident, %d MiB by share", apps, shares[2], shares, rss>>10, pss>>10)
	m.sidecars()
}

func (m *meter) sidecars() {
	list, _, err := localengine.List(m.Context(), m.cl)
	if err != nil {
		m.Fatal(err)
	}
	var rss, pss []int
	for _, c := range list {
		if !c.Up || c.Labels["dev.latchkey.role"] != "sidecar" {
			continue
		}
		pid, err := localengine.Pid(m.Context(), m.cl, c.ID)
		if err != nil {
			m.Fatal(err)
		}
		r, p := memory(m.T, pid)
		rss, pss = append(rss, r), append(pss, p)
	}
	if len(rss) == 0 {
		m.Fatal("there are no sidecars")
	}
	slices.Sort(rss)
	slices.Sort(pss)
	m.Logf("%d sidecars: %.1f MiB resident (at most %.1f), %.1f MiB by share (at most %.1f)", len(rss),
		float64(rss[len(rss)/2])/1024, float64(rss[len(rss)-1])/1024, float64(pss[len(pss)/2])/1024, float64(pss[len(pss)-1])/1024)
}

// cpu gives the processor time of a process.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // ticks
}

// memory gives what a process has in memory, in KiB: all of it, and its share.
func memory(t testing.TB, pid int) (rss, pss int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "Rss:":
			rss, _ = strconv.Atoi(fields[1])
		case "Pss:":
			pss, _ = strconv.Atoi(fields[1])
		}
	}
	return rss, pss
}
