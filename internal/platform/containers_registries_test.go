package platform_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localregistry"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/internal/token"
)

// trusting is a registry that accepts tokens of a platform, whose keys it finds as
// any server of others does: by the discovery document.
func trusting(t *testing.T, p *platformtest.Platform) *localregistry.Registry {
	t.Helper()
	text, err := os.ReadFile(p.Cred.CAFile)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatalf("the authority's certificate: %v", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	t.Cleanup(client.CloseIdleConnections)
	return localregistry.Start(t, localregistry.Config{
		Keys: localregistry.Discovered(client, p.Cred.Endpoint+"/"+p.Cred.TenantID), Issuer: token.IssuerV1(p.Cred.TenantID),
	})
}

func pullAs(t *testing.T, image string, c engine.Credential) error {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()), remote.WithAuth(&authn.Basic{Username: c.Username, Password: c.Password}))
	if err != nil {
		return err
	}
	_, err = img.Digest()
	return err
}

func TestImagesAreGotByAnIdentityThatCodeCannotUse(t *testing.T) {
	c := startContained(t, platform.Config{})
	r := trusting(t, c.Platform)
	image := r.PushRandom(t, "team/shop")
	puller := c.identity("puller")
	var made object
	c.Do(t, "GET", puller, nil, &made)
	a := c.app()
	a["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{puller: object{}}}
	configuration := a["properties"].(object)["configuration"].(object)
	configuration["registries"] = []any{object{"server": r.Host, "identity": puller}}
	configuration["identitySettings"] = []any{object{"identity": puller, "lifecycle": "None"}}
	id := c.at("containerApps", "shop")
	c.Do(t, "PUT", id, a, nil)
	shop := c.settled("shop", "Succeeded")

	_, err := c.Node.ImageCredential(t.Context(), id, image)
	if engine.ReasonOf(err) != engine.ReasonImageAuth || !strings.Contains(err.Error(), r.Host) || !strings.Contains(problem.NextOf(err), "AcrPull") {
		t.Errorf("without a right: %v (%s)", err, problem.NextOf(err))
	}
	r.Allow(fmt.Sprint(inside(made, "properties", "principalId")), "team/shop")
	with, err := c.Node.ImageCredential(t.Context(), id, image)
	if err != nil {
		t.Fatal(err)
	}
	if err := pullAs(t, image, with); err != nil {
		t.Error(err)
	}
	if status, body := c.get(shop, of(puller)); status != 400 {
		t.Errorf("the container got a token: %d %s", status, body)
	}
	platformtest.Until(t, "the token is in the audit log", func() bool { return strings.Contains(c.audit(), "registryToken") })

	c.Do(t, "DELETE", puller, nil, nil)
	_, err = c.Node.ImageCredential(t.Context(), id, image)
	if engine.ReasonOf(err) != engine.ReasonImageAuth || !strings.Contains(err.Error(), "was deleted") {
		t.Errorf("the identity is deleted: %v", err)
	}
}

func TestAnImagesPasswordCanBeInAVault(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	r := trusting(t, c.Platform)
	r.AddUser("robot", "right")
	image := r.PushRandom(t, "team/shop")
	makeVault(t, c.Platform, "boxes", "db", "right")
	a := c.secretApp("system", "")
	a["properties"].(object)["configuration"].(object)["registries"] = []any{object{"server": r.Host, "username": "robot", "passwordSecretRef": "db"}}
	id := c.at("containerApps", "shop")
	c.Do(t, "PUT", id, a, nil)
	shop := c.settled("shop", "Failed")
	_, err := c.Node.ImageCredential(t.Context(), id, image)
	if engine.ReasonOf(err) != engine.ReasonImageAuth || !strings.Contains(err.Error(), "https://boxes.vault.azure.net/secrets/db") {
		t.Errorf("the password cannot be read: %v", err)
	}
	c.letRead(fmt.Sprint(inside(shop, "identity", "principalId")))
	c.settled("shop", "Succeeded")
	with, err := c.Node.ImageCredential(t.Context(), id, image)
	if err != nil || with.Username != "robot" {
		t.Fatal(err)
	}
	if err := pullAs(t, image, with); err != nil {
		t.Error(err)
	}
}
