// Command orders-go is a custom handler that needs two secrets and holds none: one
// arrives as an app setting that refers to a vault, the other is read from the
// vault in code, with the app's managed identity. Nothing in it knows Latchkey;
// it runs on Azure Functions as it is.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// vaultTime bounds reading a secret.
const vaultTime = 20 * time.Second

func main() {
	port := os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	if port == "" {
		log.Fatal("error: FUNCTIONS_CUSTOMHANDLER_PORT is not set; docs/guide.md says how to deploy me")
	}
	read, err := reader(os.Getenv("VAULT_URL"))
	if err != nil {
		log.Fatal("error: VAULT_URL: ", err)
	}
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", port),
		Handler:           routes(read),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal("error: ", server.ListenAndServe())
}

// routes maps the paths of the functions.
func routes(read func(context.Context, string) (string, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/orders", orders)
	mux.HandleFunc("/api/supplier", func(w http.ResponseWriter, r *http.Request) { supplier(w, r, read) })
	return mux
}

// orders uses the secret that the platform put into the settings.
func orders(w http.ResponseWriter, _ *http.Request) {
	password := os.Getenv("DATABASE_PASSWORD")
	if password == "" || strings.HasPrefix(password, "@Microsoft.KeyVault(") {
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": "DATABASE_PASSWORD is not resolved; see: latchkey references list APP"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"from": "app setting", "fingerprint": fingerprint(password)})
}

// supplier reads a secret when it needs it.
func supplier(w http.ResponseWriter, r *http.Request, read func(context.Context, string) (string, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), vaultTime)
	defer cancel()
	key, err := read(ctx, "supplier-key")
	if err != nil {
		log.Printf("error: the supplier's key cannot be read: %v", reason(err))
		answer(w, http.StatusBadGateway, map[string]string{"error": "the supplier's key cannot be read: " + reason(err)})
		return
	}
	answer(w, http.StatusOK, map[string]string{"from": "vault", "fingerprint": fingerprint(key)})
}

// reader gives what reads the latest version of a secret from the vault at
// VAULT_URL. Credential and client are made once and keep their tokens.
func reader(url string) (func(context.Context, string) (string, error), error) {
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	client, err := azsecrets.NewClient(url, credential, nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, name string) (string, error) {
		got, err := client.GetSecret(ctx, name, "", nil)
		if err != nil {
			return "", err
		}
		if got.Value == nil {
			return "", errors.New("the secret has no value")
		}
		return *got.Value, nil
	}, nil
}

// reason gives what an error says in short: a vault's answer is long.
func reason(err error) string {
	var answered *azcore.ResponseError
	if errors.As(err, &answered) {
		return answered.ErrorCode
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// fingerprint shows which value there is without showing the value.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Printf("warning: the answer was not taken: %v", err)
	}
}
