package platform_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// queueService is a storage account's queue service with one message, for those who
// bring a token.
type queueService struct {
	mu      sync.Mutex
	given   bool
	deleted bool
	token   string
}

// loopback are the networks that an installation has to allow for emulators.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func (s *queueService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.token = token
	w.Header().Set("Content-Type", "application/xml")
	switch {
	case r.Method == http.MethodDelete:
		s.deleted = true
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(r.URL.Path, "/messages"):
		message := ""
		if !s.given {
			s.given = true
			at := time.Now().UTC().Format(http.TimeFormat)
			message = fmt.Sprintf("<QueueMessage><MessageId>1</MessageId><InsertionTime>%s</InsertionTime><ExpirationTime>%s</ExpirationTime>"+
				"<PopReceipt>p</PopReceipt><TimeNextVisible>%s</TimeNextVisible><DequeueCount>1</DequeueCount><MessageText>aGVsbG8=</MessageText></QueueMessage>", at, at, at)
		}
		_, _ = io.WriteString(w, "<QueueMessagesList>"+message+"</QueueMessagesList>")
	default:
		w.Header().Set("x-ms-approximate-messages-count", "1")
	}
}

// TestQueuesAreReadAsTheAppsOwnIdentity: connections without a secret are opened by
// what the app was assigned, never by what the node is; an app that nobody calls
// works on its queue.
func TestQueuesAreReadAsTheAppsOwnIdentity(t *testing.T) {
	service := &queueService{}
	account := httptest.NewServer(service)
	t.Cleanup(account.Close)
	ran := make(chan string, 8)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/work" {
			ran <- string(body)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})
	p := platformtest.Start(t, platform.Config{AppNetworks: loopback})
	upstream := platformtest.Upstream(t, handler)
	p.CreateApp(t, "orders", upstream)
	setSettings(t, p, "orders", map[string]string{testkit.UpstreamSetting: upstream, "FUNCTIONS_WORKER_RUNTIME": "custom",
		"Store__queueServiceUri": account.URL, "Store__credential": "managedidentity"})
	p.Deploy(t, "orders", platformtest.Package(t, nil, map[string]string{
		"work/function.json": `{"bindings": [{"type": "queueTrigger", "name": "item", "direction": "in", "queueName": "orders", "connection": "Store"}]}`,
	}))
	platformtest.Until(t, "the identity is missed", func() bool { return strings.Contains(p.Log.String(), "latchkey identity assign orders") })
	var site struct {
		Identity struct {
			PrincipalID string `json:"principalId"`
		} `json:"identity"`
	}
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]string{"type": "SystemAssigned"}}, &site)
	platformtest.Until(t, "the message is worked on", func() bool {
		service.mu.Lock()
		defer service.mu.Unlock()
		return service.deleted
	})
	select {
	case body := <-ran:
		if !strings.Contains(body, "hello") {
			t.Error(body)
		}
	default: // it is deleted after its run
		t.Error("the function did not run")
	}
	service.mu.Lock()
	defer service.mu.Unlock()
	var claims struct{ Aud, Oid string }
	parts := strings.Split(service.token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err != nil || json.Unmarshal(raw, &claims) != nil || !strings.HasPrefix(claims.Aud, "https://storage.azure.com") || claims.Oid != site.Identity.PrincipalID {
		t.Errorf("%+v, want a token of %s", claims, site.Identity.PrincipalID)
	}
	if strings.Contains(p.Log.String(), service.token) {
		t.Error("a token is in the log")
	}
}

// TestBindingsDoNotLeadToTheNodeItself: what an app's settings call a storage account
// is reached from the node, with the node's place in the network.
func TestBindingsDoNotLeadToTheNodeItself(t *testing.T) {
	var asked atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(inner.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(inner.URL, "http://"), ":")
	p := platformtest.Start(t, platform.Config{})
	upstream := platformtest.Upstream(t, http.NotFoundHandler())
	const key = ";AccountName=a;AccountKey=a2V5;QueueEndpoint="
	for name, connection := range map[string]string{
		"address": key[1:] + inner.URL + "/a", "named": key[1:] + "http://localhost:" + port + "/a",
		"emulator": "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://127.0.0.1",
	} {
		p.CreateApp(t, name, upstream)
		setSettings(t, p, name, map[string]string{testkit.UpstreamSetting: upstream, "FUNCTIONS_WORKER_RUNTIME": "custom", "Store": connection})
		p.Deploy(t, name, platformtest.Package(t, nil, map[string]string{
			"work/function.json": `{"bindings": [{"type": "queueTrigger", "name": "item", "direction": "in", "queueName": "orders", "connection": "Store"}]}`,
		}))
		platformtest.Until(t, "the refusal is in the log of "+name, func() bool {
			return slices.ContainsFunc(strings.Split(p.Log.String(), "\n"), func(line string) bool {
				return strings.Contains(line, "not public and not allowed") && strings.Contains(line, "app="+name)
			})
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("a service of the node was asked %d times", n)
	}
}
