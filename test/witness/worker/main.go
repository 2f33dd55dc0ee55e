// Command worker is a custom handler that does what a test asks of it with Azure's
// libraries as they come: it gets tokens of its managed identities, reads secrets
// and tells its environment. It knows nothing of Latchkey, and it is for tests
// only: it answers with secrets.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// patience bounds what is done for one request.
const patience = 60 * time.Second

func main() {
	w := &worker{clients: map[string]*azsecrets.Client{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/env", environment)
	mux.HandleFunc("/api/token", w.token)
	mux.HandleFunc("/api/secret", w.secret)
	server := &http.Server{
		Addr:    net.JoinHostPort("127.0.0.1", os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")),
		Handler: mux, ReadHeaderTimeout: patience,
	}
	log.Fatal(server.ListenAndServe())
}

// environment tells the variables that are asked for by name.
func environment(w http.ResponseWriter, r *http.Request) {
	found := map[string]string{}
	for _, name := range r.URL.Query()["name"] {
		if value, is := os.LookupEnv(name); is {
			found[name] = value
		}
	}
	reply(w, map[string]any{"env": found, "pid": os.Getpid()})
}

// worker keeps clients, and with them their tokens, as programs do.
type worker struct {
	mu      sync.Mutex
	clients map[string]*azsecrets.Client
	seen    []int
}

// credential makes what a query asks for: kind is client, object or resource with
// an id, default for the chain of credentials, and anything else for the identity
// of the app itself.
func credential(r *http.Request) (azcore.TokenCredential, error) {
	q := r.URL.Query()
	id, o := q.Get("id"), &azidentity.ManagedIdentityCredentialOptions{}
	switch q.Get("kind") {
	case "default":
		return azidentity.NewDefaultAzureCredential(nil)
	case "client":
		o.ID = azidentity.ClientID(id)
	case "object":
		o.ID = azidentity.ObjectID(id)
	case "resource":
		o.ID = azidentity.ResourceID(id)
	}
	return azidentity.NewManagedIdentityCredential(o)
}

// token gets a token. Credentials of a program share what they have; a query with
// fresh wants another one, as after a vault's answer that a token does not count.
func (*worker) token(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	c, err := credential(r)
	if err != nil {
		reply(w, failure(err))
		return
	}
	o := policy.TokenRequestOptions{Scopes: []string{r.URL.Query().Get("resource") + "/.default"}}
	if r.URL.Query().Has("fresh") {
		o.Claims = `{"access_token":{}}`
	}
	t, err := c.GetToken(ctx, o)
	if err != nil {
		reply(w, failure(err))
		return
	}
	reply(w, map[string]any{"token": t.Token, "expires": t.ExpiresOn.Unix()})
}

// secret reads a secret with the client there is for the vault and the identity,
// and tells which answers the vault gave meanwhile.
func (k *worker) secret(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = []int{}
	got, err := k.read(ctx, r)
	answer := map[string]any{}
	if err != nil {
		answer = failure(err)
	} else {
		answer["value"], answer["version"] = *got.Value, got.ID.Version()
	}
	answer["seen"] = k.seen
	reply(w, answer)
}

func (k *worker) read(ctx context.Context, r *http.Request) (azsecrets.GetSecretResponse, error) {
	q := r.URL.Query()
	key := q.Get("vault") + " " + q.Get("kind") + " " + q.Get("id")
	if k.clients[key] == nil {
		c, err := credential(r)
		if err != nil {
			return azsecrets.GetSecretResponse{}, err
		}
		k.clients[key], err = azsecrets.NewClient(q.Get("vault"), c, &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
			PerRetryPolicies: []policy.Policy{k},
		}})
		if err != nil {
			return azsecrets.GetSecretResponse{}, err
		}
	}
	return k.clients[key].GetSecret(ctx, q.Get("name"), q.Get("version"), nil)
}

// Do implements policy.Policy: it looks at answers and changes nothing.
func (k *worker) Do(r *policy.Request) (*http.Response, error) {
	resp, err := r.Next()
	if err == nil {
		k.seen = append(k.seen, resp.StatusCode)
	}
	return resp, err
}

// failure tells an error as the libraries do.
func failure(err error) map[string]any {
	answer := map[string]any{"error": err.Error()}
	var response *azcore.ResponseError
	var authentication *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &response):
		answer["status"], answer["code"] = response.StatusCode, response.ErrorCode
	case errors.As(err, &authentication) && authentication.RawResponse != nil:
		answer["status"] = authentication.RawResponse.StatusCode
	}
	answer["type"] = strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
	return answer
}

func reply(w http.ResponseWriter, answer map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Print(err)
	}
}
