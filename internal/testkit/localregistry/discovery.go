package localregistry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Discovered gives the keys of an authority as its discovery document tells where
// they are. authority is such as https://localhost:7443/<tenant>.
func Discovered(client *http.Client, authority string) func() (jose.JSONWebKeySet, error) {
	return func() (keys jose.JSONWebKeySet, err error) {
		var about struct {
			Keys string `json:"jwks_uri"`
		}
		if err := read(client, strings.TrimSuffix(authority, "/")+"/v2.0/.well-known/openid-configuration", &about); err != nil {
			return keys, err
		}
		return keys, read(client, about.Keys, &keys)
	}
}

func read(client *http.Client, address string, v any) error {
	resp, err := client.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", address, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
