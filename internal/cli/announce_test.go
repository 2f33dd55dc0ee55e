package cli

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/server"
)

func TestCurlLinesMeanOneCommandToTheShell(t *testing.T) {
	key := func(value string) map[string]string { return map[string]string{"default": value} }
	for _, tt := range []struct {
		name string
		f    server.FunctionInfo
		want []string // what curl would be given; nil for no line
	}{
		{"plain", server.FunctionInfo{URL: "http://localhost:7071/api/hello/{name?}"}, []string{"http://localhost:7071/api/hello"}},
		{"another method", server.FunctionInfo{URL: "http://localhost:7071/api/x", Methods: []string{"POST"}}, []string{"-X", "POST", "http://localhost:7071/api/x"}},
		{"quote in the route", server.FunctionInfo{URL: "http://localhost:7071/api/x'; touch pwned; '{a}"},
			[]string{"http://localhost:7071/api/x%27;%20touch%20pwned;%20%27a"}},
		{"everything a shell knows", server.FunctionInfo{URL: "http://[::1]:7071/api/$(x)`y`\\\"&|<>!*[1-9]#%41"},
			[]string{"http://[::1]:7071/api/$(x)%60y%60%5C%22&%7C%3C%3E!*%5B1-9%5D%23%2541"}},
		{"terminal controls", server.FunctionInfo{URL: "http://localhost:7071/\u009b\u202e\u00e9"}, []string{"http://localhost:7071/%C2%9B%E2%80%AE%C3%A9"}},
		{"braces for real", server.FunctionInfo{URL: "http://localhost:7071/a{{b}}"}, nil},
		{"quote in a key", server.FunctionInfo{URL: "http://localhost:7071/x", AuthLevel: "function", Default: "default", Keys: key("a'$(b)'")},
			[]string{"-H", "x-functions-key: a'$(b)'", "http://localhost:7071/x"}},
		{"a key that does not print", server.FunctionInfo{URL: "http://localhost:7071/x", AuthLevel: "function", Default: "default", Keys: key("a\u202eb")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.f.AuthLevel == "" {
				tt.f.AuthLevel = "anonymous"
			}
			line := curl(tt.f)
			if line == "" {
				if tt.want != nil {
					t.Fatal("no line")
				}
				return
			}
			// The shell itself says how it splits the line.
			sh := exec.CommandContext(t.Context(), "sh", "-c", `curl() { printf '%s\n' "$@"; }; `+line)
			sh.Dir = t.TempDir()
			out, err := sh.Output()
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if diff := cmp.Diff(tt.want, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")); diff != "" {
				t.Errorf("%s\n%s", line, diff)
			}
		})
	}
}
