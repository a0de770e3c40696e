"""Abbreviations that are written with a full stop, in all languages together.

The words are listed without the full stop. A word with a capital letter is an abbreviation only if the text has the capital too:
"Sig." is a title, but "sig." ends many Swedish sentences. :mod:`.sentence_splitting` recognises some abbreviations by their form,
which are not listed: single letters, words without a vowel such as "bzw." and "Mrs.", and words such as "Th.".

>>> "prof" in ABBREVIATIONS, "Sig" in ABBREVIATIONS, "sig" in ABBREVIATIONS
(True, True, False)
"""

_BY_LANGUAGE = {
    "titles": """
        prof doc ing dipl dott capt cmdr comm cpl lieut maj sgt insp supt gral gen col Gov Sen Rep Pres Rev Hon Fr Brig Adm
        Lic Mag Mons Msgr Esq esq Jr jr Sr sr Dra Sra Sta Ste Sto Sig Sigg Rag Geom Avv Arch Diac Alh Amb cllr Cde Engr Bp Abp
        Ven phd Ph.d MUDr JUDr RNDr PhDr ThDr MVDr Mgr akad acad Onor Fam Wm Alex Johs Jos Fred Geo Chas Thos Edw Benj Sam Seb
        Theod Joh Alf Nic Phil Mac Claesz Cornelisz Gerritsz Gillisz Jacobsz Jansz Pietersz Willemsz Ju Yu
        Dkt subsp ssp Bw Kol Let Jend
        Drs Hj Ust Sdr Sdri Dato Tun Datin Genl Mej mevr
    """,
    "companies": "inc corp bros assn assoc co intl univ dept dep dist div bhd sdn coop cia Ass Pol Soc Ltda Cie Etn Nig",
    "en": """
        var approx appt apt ave blvd bldg est vs etc viz fig figs vol vols ed eds rev nos art arts sec chap cf al ibid Jan jan feb
        Mar apr Jun Jul aug sept oct nov dec Mon Tue tues thurs feat pop
    """,
    "de": """
        abb abs Abt allg anm Art Aufl Aug ausg beil bes betr Bez bibl ca ehem eigtl einschl ev evtl exkl Fa ggf geb gegr Gem
        Ges gest gez inkl insb insbes Kap königl Mio mio okt österr Reg sog Str str strasse teilw Tel tel Telef u.a u.ä übers
        urspr usw v.a vergl veröff verw Verf vorm wiss zus Nov Dez dez Hausnr Inh Inst Kath kath komm Lit milit Min Mod Nr Pos
        Präs Red Sek Sept St Std stellv Tab theol Univ Ziff
    """,
    "nl": "blz bijv a.u.b enz excl incl jhr mej mln o.a o.m p.a penn plm red resp a.s i.p.v zgn zogen Ir Ing Adr Ds Ned",
    "af": "asb bl bv ens mnr mev adv genl kapt ds",
    "da nb nn sv": """
        adr afd anv avd bla bl.a cirka dvs eks ekskl evt f.eks feks forts frk fru Frk fvt gade hhv jf kap kgl kungl kl kr m.fl
        m.m mill o.l osv omkr oppr ordf pga saml sek sekr sen siv skr st t.ex tidl tlf udg utg uppl vedr årg övers Av
    """,
    "is fo": "þ.e o.s.frv t.d m.a a.m.k u.þ.b nr bls",
    "fi": """
        ao eaa ent esim evl fil huom joht jne kirj kok ks lääk lyh maist milj mm muun noin ns oy Oy ov pj puh päiv rva n:o
        suom synt tal toim tunn vanh varat varap yht ym yms yliop
    """,
    "et": "aadr ag dots eKr ins jaan juh juul k.a kod koost krt lad lk lüh läh peak puud sh snd sünd tän veebr õp ül",
    "lv lt": """
        atb dz u.c u.tml utt piem plkst pants sal tālr tūkst zin žin angl apyg dab dek habil kt mėn par pav pvz pr.kr psl
        savivald sav skyr šv vyr vysk žr
    """,
    "pl": """
        abp adw dyr dot inż im itd itp kard kol kpt łac mec min mjr pol por proc prok pow płk ref rtm śp św tow tys tzn ul ust
        ubr urz woj zob zł żona asp nadkom nadinsp
    """,
    "cs sk": """
        apod arch atd č.p doktor inž jap lid max mj např napr nám náb odd okr obv opr pozn popř pplk roč říj soc sev srov sv
        tis tzv ulice úst vedl voj zejm zvl
    """,
    "sl hr sr bs": """
        arh avg d.o.o d.d dr ekon gosp god g.đa izd itn milij mn n.pr npr nadb nar odv op.a oz posl prim sod spec šol sta šk
        tj t.i tov umrl ured Ur zast zav Sred Avg
    """,
    "sq": "dmth etj mars rr sh.a Sh.a sh.p.k",
    "hu": """
        alez ált ang bek bev biz cca csüt ezr évf febr ford főig főv fszla gr id ifj ig ill int júl jún kat kb kft kiad márc
        okl olv ormos orsz özv pl rendsz szept szerk szül tip ún utc vö zrt
    """,
    "ro": "alin aprox bd cap cpt diac dl et ian jud lit lt mun obs pag prep prot publ reg",
    "fr": """
        sté abbr adj apr.j.-c av.j.-c arr boul ch coll déc édit env éd ét exp ext fac fasc févr hab janv juil Me mlle mme mmes
        p.ex part réf rem suiv tél trad
    """,
    "es": """
        abr adm afmo apdo Avda avda caps cast cía círc coord d.c a.c dcha depto dicc dpto dña Dña edit ej entlo excmo fca gob
        hno hnos ilmo izq izqda lám lcdo máx mín núm ofic pág págs pza ptas Pdte pdte prov rte ses sres sras sra teléf uds Vda
        vid
    """,
    "pt": """
        arq cel cód Cel comp conj eng enga ex excia exmo exma fev fl fls ilma jur jul jun lda pe Pe pça port profa res rod
        sarg séc séculos srta tít trav
    """,
    "it": """
        app avv capp cav cfr circ cod cons dott.ssa ecc figg geom gov lib mitt naz ott pagg prof.ssa rag rif sez sig.ra sig.na
        ss tab tav v
    """,
    "ca gl eu": "pàg pàgs plç adib or etab",
    "tr az": """
        alb ank arş asst atğm bak bknz bkz böl bul cad çev doç dok ecz gör hast hz kav kim koop kur mah meb mim müd müh nö ör
        örn öğr org osm oto ön sn sok şb şrk tug tuğg tümg uzm üsteğm üni vb vet yay yard yrd yüzb yy
    """,
    "id ms": """
        a.n ayt dll dkk dsb dst gg hlm jl jln kab kec kel ketum mayjen pdt pres rp tgk tk yth brigjen letjen irjen kompol ipda
        iptu akp jend
    """,
    "sw yo ha": "n.k k.m k.v alh mhe nk",
    "tl": "blg bb gng hen kgg kon pang sto",
    "vi": "tp ts ths gs pgs q bs",
    "ru uk bg be mk sr kk mn": """
        авт адм акад англ апр арх бел бол бр бул бывш вел венг верх вид визант вкл включ воен вост вул ген геогр гл голл гос
        госп греч губ дек деп дер див диал доб доктор доц евр ед ежегод ем епископ жит журн зав зам зап засл зн изд им ин-т
        инж ист исп итал Іл ім імп ін інж іст кан канд кап кат кав киев кол комм комп корр корп кор коп куб лат лейт лит м-ко
        мат маш мед мест мил мин млн млрд моск муз наб наук напр нар нач нем ниж обл обр обс общ оз ок оконч окр окт ориг осн
        отв отд офиц пер перв підп пл погр под подп пок пол полк польск пом посв пос пров прав преп прибл прим проезд прол
        прор просп прот проф проц пят разг разд рев ред реж реп респ рим рис рос рук рум св сев секр сел сен сент сер сим след
        см сов совм соч соц спец стар стор студ таб табл тел тер тис тыс тов ул унив ур устар фак факс фам фев февр фил филол
        фин фото фр фран франц хим хол хор худ центр церк чел черв шт эк экз эл эн эт этн юж юн янв яп яз брос дж эд ал ам
        г-жа г-н д-р р-н о-в т.е и.о т.нар т.н т.д т.п н.э до.н.э мкр обласн облас пгт сщмч прп мч архим иером игум митр еп
        архиеп иерей серж старш ефр мәс т.б т.с.с көш ауд академ инг
    """,
    "el": """
        αι αν ανωτ απ απρ αρ αριθ αρχ βασ βλ γεν δηλ διευθ διπλ δισ εκ εκατ εκδ ενν επ εσ ευρ ηλ θεσσ ιαν ιουλ ιουν ιω καθ κεφ
        κ.α κ.ά κ.λπ κ.τ.λ λεωφ λ.χ μητρ μ.χ μαρτ νοεμ ντοκ οδ οικ οκτ παρ πλ π.χ πρωτ σελ σεπ σεπτ στρ στρατ συν συγ συγγ τηλ
        τομ τεύχ υπ υπολ φεβ φιλ χιλ χ.χ Αγ Αθ Αικ Αλ Αν Γεώργ Δημ Ελ Θεόδ Ιωάν Κων Νικ Παν
    """,
    "hy": "պրոֆ դոկտ ակադ փող հեռ օր ինչ թիվ տես",
    "ka": "ინგლ ფრანგ გერმ ლათ ბერძ აღმ სამხ დას პროფ აკად იხ შეად ე.ი ა.შ ე.წ ათ მაგ",
    "he": "רח שד גב פרופ מס טל עמ סט גברת",
    "ar fa ur": "دكتور مهندس دکتر سنت آقا ق.م ب.م ه.ق ه.ش پ.ن رض ع.س ص.ب",
    "hi mr ne": """
        डॉ डा डॅा प्रो पं श्री श्रीमती सुश्री कु सं ई.पू पृ रु प्रा मि मे स्व अॅड ऍड एड त्रि.वि डब्ल्यू डब्ल्यु वाई जेड क्यू
        एक्स लि
    """,
    "bn": """
        ডাঃ মো মোঃ মোছা মোসা মু মুহা মুহাঃ প্রফ প্রকৌ অধ্যা ইঞ্জি এড অ্যাড লি গভ খ্রি খ্রিঃ পৃ ডব্লিউ ডাব্লিউ ওয়াই জেড এক্স
        কিউ
    """,
    "gu pa": "ડૉ ડો શ્રી પ્રો ડબલ્યુ ਡਾ ਸ੍ਰੀ ਪ੍ਰੋ ਡਬਲਯੂ",
    "ta": """
        டாக்டர் திரு திருமதி செல்வி பேரா கி.பி கி.மு இரா பரி சீனி செயிண்ட் டபிள்யூ டபிள்யு டவிள்யூ டபள்யூ டப்லியு ஹச் ரூ எண் தொ பக் ஒய் வழ
    """,
    "te kn ml": "డా డాక్టర్ శ్రీ ప్రొ డబ్ల్యు డబ్ల్యూ ಡಾ ಶ್ರೀ ಪ್ರೊ ಡಬ್ಲ್ಯು ಡಬ್ಲ್ಯೂ ഡോ പ്രൊഫ ശ്രീ ഡബ്ല്യു ഡബ്ല്യൂ അഡ്വ",
    "si": "ඩබ්ලිව් ඩබ්ලියු ඩබ් ආචාර්ය උදා පූජ්‍ය ගරු රු සී.ස ක්‍රි.ව ක්‍රි.පූ ප්‍රා ලේ ඉං",
}

_LETTER_NAMES = """
एच एम एम् एस एस् एन एन् एल एल् आर आर् एफ एफ् यू
এম এস এন এল আর এফ এইচ আই ইউ এ বি সি ডি জি জে কে পি টি ভি ই
એમ એસ એન એલ આર એફ એચ આઈ યુ ਐਮ ਐਸ ਐਨ ਐਲ ਆਰ ਐਫ ਐਚ ਆਈ ਯੂ
எம் எஸ் எசு என் எல் ஆர் எப் எஃப் எச் ஹெச் யு யூ வை
ఎం ఎమ్ ఎస్ ఎన్ ఎల్ ఆర్ ఎఫ్ హెచ్ ఎచ్ యు వై ಎಂ ಎಮ್ ಎಸ್ ಎನ್ ಎಲ್ ಆರ್ ಎಫ್ ಹೆಚ್ ಎಚ್ ಯು ವೈ
എം എസ് എൻ എൽ ആർ എഫ് എച്ച് യു വൈ
එම් ඇම් එස් ඇස් එන් ඇන් එල් ඇල් ආර් එෆ් එච් අයි යූ වයි
אי אל אן אס אר אקס איי אייץ' ביי בי גיי גי ג'יי ג'י די דבליו דאבליו וי וויי וו טי יו סי פי קיי קיו
اف جی دی آر پی وی اچ ال ان بی تی ام اس ای یو ایچ ایم ایس این ایل ایف جے کے ٹی ڈی دبلیو دبليو ڈبلیو ایکس
بي جي جيه دي آر إف إتش إم إن إل إس كيه سي تي
"""
"""Names of the letters of the Latin alphabet. Scripts without capital letters write initials with them."""

ABBREVIATIONS = frozenset(word for words in [*_BY_LANGUAGE.values(), _LETTER_NAMES] for word in words.split())
"""All abbreviations, without the last full stop."""
