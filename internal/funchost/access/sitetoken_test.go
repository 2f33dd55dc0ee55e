package access_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost/access"
)

const (
	secret   = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	home     = "https://my-site.azurewebsites.net"
	scm      = "https://my-site.scm.azurewebsites.net"
	platform = "https://appservice.core.azurewebsites.net"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func tokens() *access.Tokens {
	return access.NewTokens([]string{secret, ""}, []string{"My-Site", "my-site__1a2b", ""}, clock.NewManual(noon))
}

// claims of a good token; tests change what they are about.
func claims() jwt.Claims {
	return jwt.Claims{Issuer: scm, Audience: jwt.Audience{home}, Expiry: jwt.NewNumericDate(noon.Add(5 * time.Minute))}
}

func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, c jwt.Claims) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func raw() []byte { b, _ := hex.DecodeString(secret); return b }

func TestSiteTokenIsAcceptedByIssuerAudienceAndTime(t *testing.T) {
	tests := []struct {
		name          string
		change        func(*jwt.Claims)
		valid, invoke bool
	}{
		{"build service", func(*jwt.Claims) {}, true, true},
		{"site itself", func(c *jwt.Claims) { c.Issuer = home }, true, true},
		{"platform only manages", func(c *jwt.Claims) { c.Issuer = platform }, true, false},
		{"runtime site", func(c *jwt.Claims) { c.Issuer = "https://my-site__1a2b.azurewebsites.net" }, true, true},
		{"another site", func(c *jwt.Claims) { c.Issuer = "https://other.azurewebsites.net" }, false, false},
		{"no issuer", func(c *jwt.Claims) { c.Issuer = "" }, false, false},
		{"functions audience", func(c *jwt.Claims) { c.Audience = jwt.Audience{home + "/azurefunctions"} }, true, true},
		{"audience in another case", func(c *jwt.Claims) { c.Audience = jwt.Audience{strings.ToUpper(home)} }, true, true},
		{"one of the audiences", func(c *jwt.Claims) { c.Audience = jwt.Audience{"x", home} }, true, true},
		{"runtime audience", func(c *jwt.Claims) {
			c.Audience = jwt.Audience{"https://MY-SITE__1a2b.azurewebsites.net/azurefunctions"}
		}, true, true},
		{"other audience", func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://other.azurewebsites.net"} }, false, false},
		{"audience below", func(c *jwt.Claims) { c.Audience = jwt.Audience{home + "/other"} }, false, false},
		{"no audience", func(c *jwt.Claims) { c.Audience = nil }, false, false},
		{"just expired", func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(noon.Add(-50 * time.Second)) }, true, true},
		{"expired", func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(noon.Add(-2 * time.Minute)) }, false, false},
		{"never expires", func(c *jwt.Claims) { c.Expiry = nil }, false, false},
		{"not yet", func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(noon.Add(2 * time.Minute)) }, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := claims()
			tt.change(&c)
			for name, key := range map[string][]byte{"bytes": raw(), "text": []byte(secret)} {
				r := &http.Request{Header: http.Header{"Authorization": {"bearer " + sign(t, jose.HS256, key, c)}}}
				if got := tokens().Of(r); got.Valid != tt.valid || got.Invoke != tt.invoke {
					t.Errorf("signed with the %s of the key: %+v", name, got)
				}
			}
		})
	}
}

func TestSiteTokenIsSignedWithTheRightKeyAndAlgorithm(t *testing.T) {
	good := sign(t, jose.HS256, raw(), claims())
	parts := strings.Split(good, ".")
	none := "eyJhbGciOiJub25lIn0." + parts[1] + "."
	tests := map[string]string{
		"wrong key":        sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), claims()),
		"HS384":            sign(t, jose.HS384, append(raw(), raw()...), claims()),
		"HS512":            sign(t, jose.HS512, append(raw(), raw()...), claims()),
		"none":             none,
		"no signature":     parts[0] + "." + parts[1] + ".",
		"none with a name": "eyJhbGciOiJOb25lIn0." + parts[1] + "." + parts[2],
		"two parts":        parts[0] + "." + parts[1],
		"four parts":       good + ".x",
		"empty":            "",
		"garbage":          "a.b.c",
		"too long":         good + strings.Repeat("A", 9000),
		"changed claims":   parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA." + parts[2],
	}
	for name, text := range tests {
		for field, value := range map[string]string{"Authorization": "Bearer " + text, "X-Ms-Site-Token": text} {
			if got := tokens().Of(&http.Request{Header: http.Header{field: {value}}}); got.Valid || got.Invoke {
				t.Errorf("%s in %s is accepted", name, field)
			}
		}
	}
}

func TestSiteTokenHeaderWinsOverAuthorization(t *testing.T) {
	good := sign(t, jose.HS256, raw(), claims())
	tests := []struct {
		site, authorization string
		valid               bool
	}{
		{good, "", true}, {"", "Bearer " + good, false}, {good, "Bearer x.y.z", true}, {"x.y.z", "Bearer " + good, false},
	}
	for _, tt := range tests {
		r := &http.Request{Header: http.Header{"X-Ms-Site-Token": {tt.site}, "Authorization": {tt.authorization}}}
		if got := tokens().Of(r); got.Valid != tt.valid {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
	for _, other := range []string{good, "Basic " + good, "Bearer" + good, "Bearer ", ""} {
		if tokens().Of(&http.Request{Header: http.Header{"Authorization": {other}}}).Valid {
			t.Errorf("Authorization %.20q is accepted", other)
		}
	}
}

func TestSiteTokensNeedAKeyAndASite(t *testing.T) {
	c := clock.NewManual(noon)
	for name, got := range map[string]*access.Tokens{
		"no key": access.NewTokens(nil, []string{"s"}, c), "empty key": access.NewTokens([]string{""}, []string{"s"}, c),
		"short key": access.NewTokens([]string{"abcd"}, []string{"s"}, c), "no site": access.NewTokens([]string{secret}, []string{""}, c),
	} {
		if got != nil {
			t.Errorf("%s: tokens are accepted", name)
		}
	}
	var nobody *access.Tokens
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + sign(t, jose.HS256, raw(), claims())}}}
	if nobody.Of(r).Valid {
		t.Error("a nil recogniser accepts a token")
	}
}

func TestNoSiteTokenIsLeftInEitherField(t *testing.T) {
	good := "Bearer " + sign(t, jose.HS256, raw(), claims())
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	users := "Bearer " + sign(t, jose.RS256, private, claims())
	for name, tc := range map[string]struct{ authorization, left []string }{
		"the same right":  {[]string{good}, nil},
		"one of several":  {[]string{"Basic eDp5", good, users}, []string{"Basic eDp5", users}},
		"a user's token":  {[]string{users}, []string{users}},
		"another scheme":  {[]string{"Basic eDp5"}, []string{"Basic eDp5"}},
		"nothing besides": {nil, nil},
	} {
		r := &http.Request{Header: http.Header{"X-Ms-Site-Token": {good[len("Bearer "):]}, "Accept": {"*/*"}}}
		if tc.authorization != nil {
			r.Header["Authorization"] = tc.authorization
		}
		access.DropToken(r)
		want := http.Header{"Accept": {"*/*"}}
		if tc.left != nil {
			want["Authorization"] = tc.left
		}
		if diff := cmp.Diff(want, r.Header); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestRequestWithoutTokenCostsNothing(t *testing.T) {
	ts := tokens()
	r := &http.Request{Header: http.Header{"Accept": {"*/*"}}}
	if n := testing.AllocsPerRun(100, func() { _ = ts.Of(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzSiteToken: nothing but a token signed with the key is accepted, whatever
// is sent, and nothing panics.
func FuzzSiteToken(f *testing.F) {
	good := sign(f, jose.HS256, raw(), claims())
	for _, s := range []string{"", "a.b.c", "..", good[:len(good)-1], "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsieCJdfQ.e30.AA"} {
		f.Add(s)
	}
	ts := tokens()
	f.Fuzz(func(t *testing.T, text string) {
		for field, value := range map[string]string{"Authorization": "Bearer " + text, "X-Ms-Site-Token": text} {
			if got := ts.Of(&http.Request{Header: http.Header{field: {value}}}); got.Valid && !strings.HasPrefix(text, good[:20]) {
				t.Errorf("%q is accepted", text)
			}
		}
	})
}
