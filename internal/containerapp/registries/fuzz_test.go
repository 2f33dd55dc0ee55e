package registries

import (
	"strings"
	"testing"
	"time"
)

// FuzzImageNames: names of images are whatever a user wrote.
func FuzzImageNames(f *testing.F) {
	for _, s := range []string{"", "nginx", "r.io/a:b@c", "localhost:1/a/b:c", "/", ":", "@", "a.b/", "[::1]:5000/a", "https://x/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, image string) {
		server := Server(image)
		if server != normal(server) && !hubs[server] && !strings.ContainsAny(server, ":/ ") {
			t.Errorf("%q: server %q is %q when named again", image, server, normal(server))
		}
		if r := repository(image); strings.Contains(r, "@") {
			t.Errorf("%q: repository %q", image, r)
		}
		isLoopback(server)
	})
}

// FuzzExpiry: tokens are what a server answered.
func FuzzExpiry(f *testing.F) {
	for _, s := range []string{"", "a.b.c", "a.e30.c", "a.eyJleHAiOjE3NzQ3ODc4MDB9.c", "a.eyJleHAiOi0xfQ.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if ends := expiry(token); !ends.IsZero() && ends.Before(time.Unix(1, 0)) {
			t.Errorf("%q ends %v", token, ends)
		}
	})
}

func TestRepositoriesAreFoundInNames(t *testing.T) {
	for image, want := range map[string]string{
		"r.io/a:b": "a", "r.io/a/b@sha256:00": "a/b", "r.io/a:1@sha256:00": "a", "localhost:5000/a": "a", "nginx:1": "nginx", "r.io:5000/a/b": "a/b",
	} {
		if got := repository(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}
