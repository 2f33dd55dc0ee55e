package cli

import (
	"strings"
	"testing"
	"time"
)

func TestFlagsWithSeveralValuesTakeThemAll(t *testing.T) {
	for line, want := range map[string]string{
		"containerapp create shop --env-vars A=1 B=2 --image x": "containerapp create shop --env-vars A=1 --env-vars B=2 --image x",
		"containerapp update --set-env-vars A=1 --name shop":    "containerapp update --set-env-vars A=1 --name shop",
		"containerapp create --args -x y z":                     "containerapp create --args -x --args y --args z",
		"containerapp create --args=-x y":                       "containerapp create --args=-x y",
		"containerapp exec shop --command ls -l":                "containerapp exec shop --command ls -l",
		"containerapp create --tags a=b -- --tags c d":          "containerapp create --tags a=b -- --tags c d",
		"app create shop --secrets a b":                         "app create shop --secrets a b",
		"containerapp":                                          "containerapp",
	} {
		if got := strings.Join(spread(strings.Fields(line)), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestTheLineThatSaysWhatIsWrongIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "starting\n\nlast words\n": "last words", "starting\nError: no DB\n  at main\n": "Error: no DB", "a\npanic: x\nerror: y": "panic: x",
	} {
		if got := telling(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestTimesAreInPlainWords(t *testing.T) {
	now := time.Date(2030, 1, 10, 0, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		time.Second: "just now", time.Minute: "1 minute ago", 90 * time.Minute: "1 hour ago", 47 * time.Hour: "47 hours ago", 49 * time.Hour: "2 days ago",
	} {
		if got := when(now.Add(-ago), now); got != want {
			t.Errorf("%v: %q, want %q", ago, got, want)
		}
	}
	if got := exposedBy([]byte("FROM scratch\nexpose 8080/tcp\n")); got != 8080 {
		t.Errorf("port %d", got)
	}
}
