package blob_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/test/azurite"
)

// bySAS gives a store with a signature that can be changed.
func (p *place) bySAS(first string, log *slog.Logger) (*blob.Store, *atomic.Value) {
	p.t.Helper()
	var current atomic.Value
	current.Store(first)
	cfg := p.config()
	cfg.ConnectionString, cfg.Log = "", log
	cfg.SAS = func() string { return current.Load().(string) }
	return open(p.t, cfg), &current
}

func TestASignatureIsRenewedWithoutARestart(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		p.make()
		var said bytes.Buffer
		s, current := p.bySAS(p.signed(allRights, time.Hour), slog.New(slog.NewTextHandler(&said, nil)))
		put(t, s, "fn", keystoretest.Function("1"))
		want(t, s, "fn", keystoretest.Function("1"))

		expired := p.signed(allRights, -time.Minute)
		current.Store(expired)
		_, _, load := s.Load(t.Context(), "fn")
		_, list := s.List(t.Context())
		for what, err := range map[string]error{
			"load": load, "list": list, "update": try(t.Context(), s, "fn", keystoretest.Function("2")), "delete": s.Delete(t.Context(), "fn"),
		} {
			if !errors.Is(err, problem.Denied) || !strings.Contains(problem.NextOf(err), "renew AzureWebJobsSecretStorageSas") {
				t.Errorf("%s with an expired signature: %v; %s", what, err, problem.NextOf(err))
			}
			if strings.Contains(err.Error()+problem.NextOf(err), "sig=") {
				t.Errorf("%s tells the signature: %v", what, err)
			}
		}
		current.Store(p.signed(allRights, 2*time.Hour))
		want(t, s, "fn", keystoretest.Function("1"))

		other := newPlace(t, a)
		other.make()
		for _, bad := range []string{other.signed(allRights, time.Hour), "", "not a URL", p.client.URL()} {
			current.Store(bad)
			want(t, s, "fn", keystoretest.Function("1"))
		}
		if other.names() != "" {
			t.Errorf("another container got %s", other.names())
		}
		if text := strings.ReplaceAll(said.String()+s.String(), "(sig=)", ""); strings.Contains(text, "sig=") || strings.Count(text, "is not used") != 4 {
			t.Errorf("said %s", text)
		}
	})
}

func TestASignatureThatPermitsLess(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		put(t, p.open(), "fn", keystoretest.Function("1"))
		s, current := p.bySAS(p.signed(sas.ContainerPermissions{Read: true}, time.Hour), nil)
		want(t, s, "fn", keystoretest.Function("1"))
		if err := try(t.Context(), s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("update: %v", err)
		}
		if err := try(t.Context(), s, "new", keystoretest.Function("2")); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("creation: %v", err)
		}
		if err := s.Delete(t.Context(), "fn"); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("delete: %v", err)
		}
		if _, err := s.List(t.Context()); !errors.Is(err, problem.Denied) || !strings.Contains(problem.NextOf(err), `"l" (sp=)`) {
			t.Errorf("list: %v; %s", err, problem.NextOf(err))
		}
		current.Store(p.signed(sas.ContainerPermissions{List: true}, time.Hour))
		if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) {
			t.Errorf("load: %v", err)
		}
	})
}

func TestASignaturesContainerMustExist(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		s, _ := p.bySAS(p.signed(allRights, time.Hour), nil)
		_, _, load := s.Load(t.Context(), "fn")
		_, list := s.List(t.Context())
		for what, err := range map[string]error{"load": load, "list": list, "update": try(t.Context(), s, "fn", keystoretest.Function("2"))} {
			if !errors.Is(err, keystore.ErrUnavailable) || !strings.Contains(problem.NextOf(err), "make the container") {
				t.Errorf("%s: %v; %s", what, err, problem.NextOf(err))
			}
		}
	})
}

func TestErrorsAndNamesTellNoSecret(t *testing.T) {
	p := newPlace(t, account{connectionString: "AccountName=a;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:1/a"})
	p.wire.set(func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("no way to %s", r.URL) })
	s, _ := p.bySAS("http://127.0.0.1:1/a/keys?sr=c&sp=r&sig=c2VjcmV0", nil)
	for _, s := range []keystore.Store{s, p.open()} {
		_, _, err := s.Load(t.Context(), "fn")
		if text := fmt.Sprintf("%v %+v %s %s", err, err, problem.NextOf(err), s); strings.Contains(text, "c2VjcmV0") || strings.Contains(text, "sig=") {
			t.Errorf("tells a secret: %s", text)
		}
	}
}

// token is a credential that always gives itself.
type token string

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if t == "" {
		return azcore.AccessToken{}, errors.New("AADSTS7000215: invalid client secret\nand much more")
	}
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func byIdentity(t *testing.T, serviceURL string, credential azcore.TokenCredential) *blob.Store {
	t.Helper()
	return open(t, blob.Config{
		ServiceURL: serviceURL, Credential: credential, App: app, Retry: time.Millisecond,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // the test's own certificate
	})
}

func TestAnIdentityReadsAndWrites(t *testing.T) {
	f := localblob.Start(t, true)
	f.Tokens["good"] = true
	address := f.URL + "/" + azurite.Account
	s := byIdentity(t, address, token("good"))
	put(t, s, "fn", keystoretest.Function("1"))
	want(t, s, "fn", keystoretest.Function("1"))
	if _, _, err := byIdentity(t, address, token("bad")).Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) {
		t.Errorf("load with a token of somebody else: %v", err)
	}
	_, _, err := byIdentity(t, address, token("")).Load(t.Context(), "fn")
	if !errors.Is(err, keystore.ErrUnavailable) || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "much more") {
		t.Errorf("load without a token: %v", err)
	}
}

func TestAnIdentityOnAzurite(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a process")
	}
	cert, key := certificate(t)
	e := azurite.Start(t, azurite.Options{CertFile: cert, KeyFile: key})
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	now := time.Now()
	claims := fmt.Sprintf(`{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/11111111-1111-1111-1111-111111111111/","nbf":%d,"iat":%d,"exp":%d}`,
		now.Add(-time.Minute).Unix(), now.Add(-time.Minute).Unix(), now.Add(time.Hour).Unix())
	s := byIdentity(t, e.ServiceURL(), token(part(`{"alg":"RS256","typ":"JWT"}`)+"."+part(claims)+"."+part("signature")))
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))
}
