package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// loadTime bounds loading the stock list.
const loadTime = 30 * time.Second

// stock is what the init container leaves for the main one: what it got with the
// supplier's key, and not the key.
type stock struct {
	Items    map[string]int `json:"items"`
	LoadedBy string         `json:"loadedBy"` // fingerprint of the key
}

// load reads the supplier's key from the vault, gets the stock list with it, and
// leaves the list in the volume.
func load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	key, err := readSecret(ctx, "supplier-key")
	if err != nil {
		return fmt.Errorf("the supplier's key cannot be read: %w", brief(err))
	}
	text, err := json.Marshal(stock{Items: askSupplier(key), LoadedBy: fingerprint(key)})
	if err != nil {
		return err
	}
	if err := os.WriteFile(stockFile(), text, 0o644); err != nil {
		return fmt.Errorf("the stock list cannot be left in the volume: %w", err)
	}
	log.Print("loaded the stock list with key ", fingerprint(key))
	return nil
}

func readSecret(ctx context.Context, name string) (string, error) {
	vault, err := setting("VAULT_URL")
	if err != nil {
		return "", err
	}
	c, err := credential()
	if err != nil {
		return "", err
	}
	client, err := azsecrets.NewClient(vault, c, nil)
	if err != nil {
		return "", err
	}
	s, err := client.GetSecret(ctx, name, "", nil)
	if err != nil {
		return "", err
	}
	if s.Value == nil {
		return "", errors.New("it has no value")
	}
	return *s.Value, nil
}

// askSupplier stands for a call of somebody else's API.
func askSupplier(string) map[string]int {
	return map[string]int{"apples": 120, "pears": 40, "plums": 7}
}

// brief gives what a service said in one line.
func brief(err error) error {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return fmt.Errorf("%d %s", answer.StatusCode, answer.ErrorCode)
	}
	return err
}
