package access

import (
	"strconv"
	"time"
)

// retrySeconds rounds up to whole seconds, at least one, for Retry-After.
func retrySeconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
