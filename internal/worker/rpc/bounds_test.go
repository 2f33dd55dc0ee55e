package rpc

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

func TestTextsOfLogsAreBounded(t *testing.T) {
	var lines []worker.LogLine
	w := New(Config{Runtime: &config.Worker{}, Clock: clock.NewManual(time.Now()), Logs: func(l worker.LogLine) { lines = append(lines, l) }})
	long := strings.Repeat("ü", 1<<20)
	newChannel(w).log(&wire.RpcLog{
		Level: wire.RpcLog_Error, LogCategory: wire.RpcLog_System, Message: long, Category: long, InvocationId: long,
		Exception: &wire.RpcException{Message: long, StackTrace: long},
	})
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	for name, text := range map[string]string{"message": lines[0].Message, "category": lines[0].Category, "exception": lines[0].Exception, "invocation": lines[0].InvocationID} {
		if len(text) > maxText+64 || !strings.HasSuffix(text, " bytes in all)") {
			t.Errorf("the %s has %d bytes and ends in %q", name, len(text), text[len(text)-30:])
		}
	}
	for name, text := range properties(map[string]*wire.TypedData{"text": textData(long), "bytes": bytesData([]byte(long)), "json": jsonData(`"` + long + `"`)}) {
		if len(text) > maxText+64 {
			t.Errorf("property %s has %d bytes", name, len(text))
		}
	}
	if shortened("short") != "short" {
		t.Error("a short text was changed")
	}
}

func TestWorkersOfOtherUsersMaySendLess(t *testing.T) {
	if n := maxReceived(nil); n != maxMessage {
		t.Errorf("our own: %d", n)
	}
	if n := maxReceived(&child.Credential{UID: 1, GID: 1}); n > 256<<20 {
		t.Errorf("another user's: %d", n)
	}
}
