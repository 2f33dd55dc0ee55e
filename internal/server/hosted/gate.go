package hosted

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/problem"
)

// trustFrontEnd must be set besides WEBSITE_INSTANCE_ID for the platform's
// headers to be trusted. On App Service nobody else can reach the host; here a
// request without a header would be let in without a key.
const trustFrontEnd = "LATCHKEY_TRUST_FRONT_END"

func isolation(s Settings) access.Isolation {
	i := access.Isolation{
		Enabled:    s.Get("FUNCTIONS_ADMIN_ISOLATION_ENABLED") == "1",
		AppService: s.Get("WEBSITE_INSTANCE_ID") != "" && s.IsTrue(trustFrontEnd),
	}
	if list, given := s.Lookup("InternalAuthApisAllowList"); given {
		i.Allowed = strings.Split(list, "|")
	}
	return i
}

// siteTokens accepts the tokens the platform signs for the app; it is nil unless
// the settings have its encryption key and its name.
func siteTokens(s Settings, own string, c clock.Clock) *access.Tokens {
	return access.NewTokens(
		[]string{own, s.Get("AzureWebEncryptionKey"), s.Get("MACHINEKEY_DecryptionKey")},
		[]string{s.Get("WEBSITE_SITE_NAME"), s.Get("WEBSITE_DEPLOYMENT_ID")}, c)
}

// defaultBody is the largest request body unless the settings say otherwise.
const defaultBody = 100 << 20

// bodyLimit gives the largest request body that the app's settings ask for, at most
// what whoever runs the server allows; 0 allows any.
func bodyLimit(s Settings, most int64) (limit int64, clamped bool, err error) {
	if limit, err = wantedBody(s); err == nil && most > 0 && limit > most {
		return most, s.Get(bodySetting) != "", nil
	}
	return limit, false, err
}

const bodySetting = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"

func wantedBody(s Settings) (int64, error) {
	text := s.Get(bodySetting)
	if text == "" {
		return defaultBody, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, problem.New(problem.Invalid, fmt.Sprintf("setting %s is %q, not a number of bytes", bodySetting, text))
	}
	return n, nil
}
