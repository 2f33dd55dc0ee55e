package incidents

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

const (
	// workerVariable makes this program the worker of an app.
	workerVariable = "INCIDENTS_WORKER"
	// startsVariable names a file that gets a line for each start of a worker.
	startsVariable = "INCIDENTS_STARTS"
)

// work is a custom handler as somebody writes it for the cloud: it shows its
// settings and reads secrets with its identity.
func work() int {
	if path := os.Getenv(startsVariable); path != "" {
		if err := note(path); err != nil {
			return 3
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.Getenv(r.URL.Query().Get("name")))
	})
	read := sync.OnceValues(newReader)
	mux.HandleFunc("/api/secret", func(w http.ResponseWriter, r *http.Request) {
		answer := found{}
		if get, err := read(); err != nil {
			answer.Fault = err.Error()
		} else {
			answer = get(r.Context(), r.URL.Query().Get("name"))
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), mux); err != nil {
		return 4
	}
	return 0
}

func note(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return errors.Join(err, f.Close())
}

// found is what the worker tells of a secret.
type found struct {
	Value  string
	Status int    // of the vault, 0 if it did not answer
	Code   string // of the vault
	Fault  string
	Token  string // a mark of the token that was used
}

// noting is a credential that keeps a mark of its last token.
type noting struct {
	azcore.TokenCredential
	mu   sync.Mutex
	mark string
}

// GetToken implements azcore.TokenCredential.
func (n *noting) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := n.TokenCredential.GetToken(ctx, o)
	sum := sha256.Sum256([]byte(t.Token))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mark = hex.EncodeToString(sum[:8])
	return t, err
}

func (n *noting) last() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mark
}

// newReader makes the clients once, as programs do: they keep their tokens.
func newReader() (func(context.Context, string) found, error) {
	options := azcore.ClientOptions{Transport: atHome(), Retry: policy.RetryOptions{MaxRetries: -1}}
	inner, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	credential := &noting{TokenCredential: inner}
	client, err := azsecrets.NewClient(os.Getenv("VAULT_URL"), credential, &azsecrets.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, name string) (f found) {
		got, err := client.GetSecret(ctx, name, "", nil)
		f.Token = credential.last()
		var answer *azcore.ResponseError
		switch {
		case errors.As(err, &answer):
			f.Status, f.Code = answer.StatusCode, answer.ErrorCode
		case err != nil:
			f.Fault = err.Error()
		default:
			f.Status, f.Value = http.StatusOK, *got.Value
		}
		return f
	}, nil
}

// atHome is an HTTP client that reaches this machine only.
func atHome() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if tcp, ok := c.(*net.TCPConn); ok && !tcp.RemoteAddr().(*net.TCPAddr).IP.IsLoopback() {
			_ = c.Close()
			return nil, errors.New(address + " is not on this machine")
		}
		return c, err
	}
	return &http.Client{Transport: transport}
}
