package platform_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// queues is a queue service that tells a length to who has a token.
type queues struct {
	*httptest.Server
	length atomic.Int64
	deny   atomic.Bool

	mu    sync.Mutex
	asked string         // path of the last request
	token map[string]any // claims of the last one
}

func startQueues(t *testing.T) *queues {
	q := &queues{}
	q.Server = httptest.NewServer(http.HandlerFunc(q.answer))
	t.Cleanup(q.Close)
	return q
}

func (q *queues) answer(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked, q.token = r.URL.Path, nil
	if parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &q.token)
	}
	if q.deny.Load() || q.token["aud"] != "https://storage.azure.com" {
		w.Header().Set("x-ms-error-code", "AuthorizationPermissionMismatch")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Header().Set("x-ms-approximate-messages-count", fmt.Sprint(q.length.Load()))
}

// scaled gives how many replicas the newest revision of an app has.
func (c *contained) scaled(a object) int {
	if text := c.replicas(a); text != "" {
		return strings.Count(text, ",") + 1
	}
	return 0
}

func TestAQueueReadByAnIdentityThatTheCodeCannotUseDecidesTheReplicas(t *testing.T) {
	t.Parallel()
	q := startQueues(t)
	c := startContained(t, platform.Config{AppNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Containers: platform.ContainersConfig{QueueServices: []string{"orders=" + q.URL + "/orders"}}})
	scaler := c.identity("scaler")
	a := c.app()
	a["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{scaler: object{}}}
	configuration := a["properties"].(object)["configuration"].(object)
	delete(configuration, "ingress")
	configuration["identitySettings"] = []any{object{"identity": scaler, "lifecycle": "None"}}
	a["properties"].(object)["template"].(object)["scale"] = object{"maxReplicas": 3, "pollingInterval": 1, "cooldownPeriod": 1,
		"rules": []any{object{"name": "work", "azureQueue": object{"accountName": "orders", "queueName": "work", "queueLength": 5, "identity": scaler}}}}
	q.length.Store(12)
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Succeeded")
	platformtest.Until(t, "there are three replicas", func() bool { return c.scaled(shop) == 3 })
	q.mu.Lock()
	asked, token := q.asked, q.token
	q.mu.Unlock()
	if asked != "/orders/work" || token["xms_mirid"] != scaler && !strings.EqualFold(fmt.Sprint(token["xms_mirid"]), scaler) {
		t.Errorf("asked %s with %v", asked, token)
	}

	q.deny.Store(true)
	id, err := resource.Parse(c.at("containerApps", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	revision := inside(shop, "properties", "latestRevisionName").(string)
	platformtest.Until(t, "it is said that the queue cannot be read", func() bool {
		e, ok := c.Node.ContainerScale(id, revision)
		return ok && e.Desired == 3 && len(e.Rules) == 1 && strings.Contains(e.Rules[0].Error, "Storage Queue Data Reader")
	})
	q.deny.Store(false)
	q.length.Store(0)
	platformtest.Until(t, "there are no replicas", func() bool { return c.scaled(shop) == 0 })
	c.Stop(t)
	c.Restart(t)
	q.length.Store(1)
	platformtest.Until(t, "there is one replica", func() bool { return c.scaled(shop) == 1 })
	c.settled("shop", "Succeeded")
}

func TestAScaleRuleThatIsNotFollowedIsSaid(t *testing.T) {
	c := startContained(t, platform.Config{})
	a := c.app()
	a["properties"].(object)["template"].(object)["scale"] = object{"minReplicas": 1, "maxReplicas": 3, "rules": []any{
		object{"name": "topic", "custom": object{"type": "kafka", "metadata": object{"topic": "t", "bootstrapServers": "b:9092", "consumerGroup": "g"}}},
		object{"name": "requests", "http": object{"metadata": object{"concurrentRequests": "10"}}},
	}}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Succeeded")
	var revision object
	c.Do(t, "GET", shop["id"].(string)+"/revisions/"+inside(shop, "properties", "latestRevisionName").(string), nil, &revision)
	if text := fmt.Sprint(inside(revision, "properties", "runningStateDetails")); !strings.Contains(text, `Scale rule 'topic'`) || !strings.Contains(text, "kafka") || strings.Contains(text, "requests") {
		t.Errorf("the revision's details: %s", text)
	}
	for _, of := range []object{shop, revision} {
		list, _ := inside(of, "properties", "scaling", "rules").([]any)
		if len(list) != 2 || !strings.Contains(fmt.Sprint(list[0]), "kafka") || inside(list[1].(object), "error") != nil || inside(of, "properties", "scaling", "desiredReplicas") != 1.0 {
			t.Errorf("scaling: %v", list)
		}
	}
	c.Do(t, "POST", shop["id"].(string)+"/stop", nil, nil)
	c.Do(t, "GET", shop["id"].(string), nil, &revision)
	if s := inside(revision, "properties", "scaling"); s != nil {
		t.Errorf("a stopped app scales: %v", s)
	}
}
