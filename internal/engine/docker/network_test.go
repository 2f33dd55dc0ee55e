package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// daemon answers as an engine that keeps networks.
type daemon struct {
	component string
	refuses   bool

	mu       sync.Mutex
	networks map[string]map[string]string // options by name
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
	name := strings.TrimPrefix(path, "networks/")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case path == "version":
		fmt.Fprintf(w, `{"Components":[{"Name":%q}]}`, d.component)
	case path == "networks/create" && d.refuses:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"message":"cannot restrict inter-container communication"}`)
	case path == "networks/create":
		var asked struct {
			Name, Driver    string
			Options, Labels map[string]string
		}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		if asked.Driver != "bridge" || asked.Labels[labelInstallation] != "i" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d.networks[asked.Name] = asked.Options
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"Id":"x"}`)
	case d.networks[name] == nil:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"no such network"}`)
	case r.Method == http.MethodDelete:
		delete(d.networks, name)
	default:
		fmt.Fprintf(w, `{"Name":%q,"Id":"x"}`, name)
	}
}

func siteAt(t *testing.T, d *daemon, log *slog.Logger) *site {
	t.Helper()
	d.networks = map[string]map[string]string{}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	cl, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(server.URL, "http://")), client.WithAPIVersion("1.44"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return &site{cl: cl, installation: "i", log: log}
}

func TestDockerIsAskedToKeepContainersApart(t *testing.T) {
	d := &daemon{component: "Engine"}
	s := siteAt(t, d, nil)
	for _, app := range []string{"one", "two", "one"} {
		if got, err := s.network(t.Context(), app); err != nil || got != "latchkey-i" {
			t.Fatal(got, err)
		}
	}
	if len(d.networks) != 1 || d.networks["latchkey-i"]["com.docker.network.bridge.enable_icc"] != "false" {
		t.Error(d.networks)
	}
	s.leaveNetwork(t.Context(), "one")
	if len(d.networks) != 1 {
		t.Error("the network of all apps is removed with one")
	}
	delete(d.networks, "latchkey-i") // by somebody else
	if got, err := s.network(t.Context(), "one"); err != nil || got != "latchkey-i" || len(d.networks) != 1 {
		t.Error(got, err, d.networks)
	}
}

func TestPodmanIsAskedForANetworkOfEachApp(t *testing.T) {
	d := &daemon{component: "Podman Engine"}
	s := siteAt(t, d, nil)
	names := map[container.NetworkMode]bool{}
	for _, app := range []string{"one", "two", "ONE"} {
		got, err := s.network(t.Context(), app)
		if err != nil {
			t.Fatal(err)
		}
		names[got] = true
	}
	if len(names) != 2 || len(d.networks) != 2 {
		t.Error(names, d.networks)
	}
	for _, options := range d.networks {
		if options["isolate"] != "true" {
			t.Error(options)
		}
	}
	s.leaveNetwork(t.Context(), "one")
	s.leaveNetwork(t.Context(), "two")
	if len(d.networks) != 0 {
		t.Error(d.networks)
	}
}

func TestAnEngineThatKeepsNothingApartIsToldOfOnce(t *testing.T) {
	var log bytes.Buffer
	s := siteAt(t, &daemon{component: "Engine", refuses: true}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		if got, err := s.network(t.Context(), "one"); err != nil || got != "" {
			t.Error(got, err)
		}
	}
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "iptables") {
		t.Error(log.String())
	}
}

func TestOnlyASidecarThatGivesItUpMayChangeItsNetwork(t *testing.T) {
	for ready, want := range map[string][]string{"": nil, "ready": {"NET_ADMIN"}} {
		h := &container.HostConfig{}
		confine(h)
		Sidecar{Ready: ready}.confine(h)
		if !slices.Equal(h.CapAdd, want) || !slices.Equal(h.CapDrop, []string{"ALL"}) || !slices.Equal(h.SecurityOpt, []string{"no-new-privileges"}) {
			t.Errorf("%+v", h)
		}
	}
}
