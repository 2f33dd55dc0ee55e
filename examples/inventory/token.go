package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

// askToken asks the identity endpoint for a token of an identity, as a thief in this
// container would, and prints the answer without the token.
func askToken(ctx context.Context, name string) error {
	id := path.Join(path.Dir(os.Getenv("IDENTITY")), name)
	q := url.Values{"api-version": {"2019-08-01"}, "resource": {"https://vault.azure.net"}, "mi_res_id": {id}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("IDENTITY_ENDPOINT")+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-IDENTITY-HEADER", os.Getenv("IDENTITY_HEADER"))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		fmt.Println(resp.StatusCode, strings.TrimSpace(string(text)))
		return errors.New("no token")
	}
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	fmt.Println(resp.StatusCode, "a token of", owner(got.Token))
	return nil
}

// owner gives the name of the identity that a token is of.
func owner(token string) string {
	var claims struct {
		ID string `json:"xms_mirid"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims) // what is no token has no owner
	}
	return path.Base(claims.ID)
}
