// Command inventory is a container app in one program: "load" is its init container,
// "serve" its main one. Each uses a managed identity that the other cannot get tokens
// of, by the client libraries of Azure. Nothing in it knows Latchkey.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Print("error: ", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "load":
		return load(ctx)
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 2 && args[0] == "token":
		return askToken(ctx, args[1])
	}
	return errors.New("say load, serve or token IDENTITY")
}

// credential gets tokens of the identity that IDENTITY names by its resource id.
func credential() (*azidentity.ManagedIdentityCredential, error) {
	id := os.Getenv("IDENTITY")
	if id == "" {
		return nil, errors.New("IDENTITY is not set to the resource id of an identity")
	}
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ResourceID(id)})
}

// stockFile is in the volume that both containers mount. CONTAINER_ROOT is where
// the process engine, which has no file system for each container, puts it.
func stockFile() string {
	return filepath.Join("/", os.Getenv("CONTAINER_ROOT"), "stock", "stock.json")
}

// fingerprint tells values apart without telling them.
func fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:4])
}

func setting(name string) (string, error) {
	if v := os.Getenv(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s is not set", name)
}
