package platform_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// visitor asks container apps by their host names, as clients do.
type visitor struct {
	*http.Client
	scheme string
}

// visit gives a visitor of the apps' listener, or, by TLS, of the management one.
func (c *contained) visit(certificate *tls.Certificate, byTLS bool) visitor {
	c.t.Helper()
	to, scheme := c.Node.FunctionsAddr(), "http"
	if byTLS {
		at := c.Node.ManagementURL()
		to, scheme = "127.0.0.1"+at[strings.LastIndex(at, ":"):], "https"
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", to)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is the test's own node
	}
	if certificate != nil {
		transport.TLSClientConfig.Certificates = []tls.Certificate{*certificate}
	}
	c.t.Cleanup(transport.CloseIdleConnections)
	return visitor{&http.Client{Transport: transport, Timeout: platformtest.Patience}, scheme}
}

func (v visitor) get(host, path string) (int, string, error) {
	answer, err := v.Get(v.scheme + "://" + host + path)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// fqdn gives an app's host name with its port, as the management API tells it.
func fqdn(a object) string {
	return inside(a, "properties", "configuration", "ingress", "fqdn").(string)
}

func TestAContainerAppIsReachedByItsHostNameAndASwitchLosesNothing(t *testing.T) {
	c := startContained(t, platform.Config{})
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	a := c.settled("shop", "Succeeded")
	v := c.visit(nil, false)
	status, was, err := v.get(fqdn(a), "/env?CONTAINER_APP_REVISION")
	if status != 200 || was != inside(a, "properties", "latestRevisionName") {
		t.Fatalf("got %d %q %v, want %v", status, was, err, inside(a, "properties", "latestRevisionName"))
	}
	if status, body, err := c.visit(nil, true).get(fqdn(a), "/env?CONTAINER_APP_NAME"); status != 200 || body != "shop" {
		t.Errorf("by TLS: %d %s %v", status, body, err)
	}
	if status, body, err := v.get("other."+strings.SplitN(fqdn(a), ".", 2)[1], "/"); status != 404 {
		t.Errorf("another name: %d %s %v", status, body, err)
	}
	var latest atomic.Value
	latest.Store(was)
	stop := make(chan struct{})
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, body, err := v.get(fqdn(a), "/env?CONTAINER_APP_REVISION")
				if status != 200 || err != nil {
					t.Errorf("a request was lost: %d %s %v", status, body, err)
					return
				}
				latest.Store(body)
			}
		})
	}
	next := c.app()
	next["properties"].(object)["template"].(object)["revisionSuffix"] = "next"
	c.Do(t, "PUT", c.at("containerApps", "shop"), next, nil)
	platformtest.Until(t, "the next revision answers", func() bool { return latest.Load() == "shop--next" || t.Failed() })
	close(stop)
	visitors.Wait()
	if status, _, _ := v.get(strings.Replace(fqdn(a), "shop.", was+".", 1), "/"); status != 404 {
		platformtest.Until(t, "the one before is not reached", func() bool {
			status, _, _ = v.get(strings.Replace(fqdn(a), "shop.", was+".", 1), "/")
			return status == 404
		})
	}
	c.Do(t, "POST", c.at("containerApps", "shop")+"/stop", nil, nil)
	platformtest.Until(t, "a stopped app is not reached", func() bool { status, _, _ := v.get(fqdn(a), "/"); return status == 404 })
}

func TestARequestStartsAContainerAppThatIsAtZero(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	a := c.app()
	a["properties"].(object)["template"].(object)["scale"] = object{"minReplicas": 0, "maxReplicas": 1, "cooldownPeriod": 1, "pollingInterval": 1}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Succeeded")
	platformtest.Until(t, "it is at zero", func() bool { return c.replicas(shop) == "" })
	v := c.visit(nil, false)
	var visitors sync.WaitGroup
	for range 20 {
		visitors.Go(func() {
			if status, body, err := v.get(fqdn(shop), "/env?CONTAINER_APP_NAME"); status != 200 || body != "shop" {
				t.Errorf("got %d %s %v", status, body, err)
			}
		})
	}
	visitors.Wait()
}

func TestAnIngressThatWantsCertificatesGetsThem(t *testing.T) {
	c := startContained(t, platform.Config{})
	a := c.app()
	ingress := a["properties"].(object)["configuration"].(object)["ingress"].(object)
	ingress["clientCertificateMode"], ingress["external"] = "require", false
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Succeeded")
	if !strings.HasPrefix(fqdn(shop), "shop.internal.") {
		t.Errorf("the host name of an app for callers inside is %s", fqdn(shop))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for want, v := range map[int]visitor{
		403: c.visit(nil, true),
		200: c.visit(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, true),
	} {
		status, body, err := v.get(fqdn(shop), "/env?CONTAINER_APP_NAME")
		if status != want || err != nil {
			t.Errorf("got %d %s %v, want %d", status, body, err, want)
		}
	}
	if status, _, _ := c.visit(nil, false).get(fqdn(shop), "/"); status != 403 {
		t.Errorf("without TLS: %d", status)
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		if status, body, err := c.visit(nil, true).get(host, "/metadata/endpoints?api-version=2022-09-01"); status != 200 {
			t.Errorf("the management API at %s: %d %s %v", host, status, body, err)
		}
	}
}
