package functions

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestAValueIsTakenAloneOrFromAnAddress(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"abc", "abc"}, {"  abc==\n", "abc=="}, {"https://orders.example/api/f?code=a%2Bb%3D%3D&x=1", "a+b=="},
		{"HTTP://orders.example/api/f?x=1&CODE=abc", "abc"}, {"a b%zz", "a b%zz"}, {"code=abc", "code=abc"},
		{"https://orders.example/api/f", ""}, {"https://orders.example/?code=", ""}, {"", ""}, {" \t", ""}, {strings.Repeat("x", maxFound+1), ""},
	} {
		got, err := presented(tt.text)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && problem.KindOf(err) != problem.Invalid {
			t.Errorf("%.60q gives %q, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

func FuzzPresented(f *testing.F) {
	for _, seed := range []string{"abc", "https://h/?code=x", "http://[::1", "https://h/?code=%", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := presented(text); err == nil && (got == "" || len(got) > maxFound) {
			t.Errorf("%q gives %q", text, got)
		}
	})
}
